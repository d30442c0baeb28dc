"""Makes the tokenizers and goldens in this folder: pip install tokenizers transformers jinja2.

tokenizer goldens come from the `tokenizers` package, prompts from transformers' own rendering.
"""

import datetime
import json
import os
import pathlib

os.environ["TZ"] = "UTC"

import transformers.utils.chat_template_utils as chat_template_utils
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
NOW = 1_700_000_000

CORPUS = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife. However little known the feelings or views of such a man may be",
    "The quick brown fox jumps over the lazy dog. 0123456789 3.14159 2024-01-02",
    "Ünïcödé, naïve café, Größe; 中文字符和汉字; かなカナ; Привет, мир; 😀🎉",
    "def f(x):\n    return x + 1\n\nfor i in range(10):\n\tprint(f(i))\n",
] * 4

TEXTS = [
    "", " ", "a", "Hello, world!", "  two  spaces ", "truth universally acknowledged",
    "line\nbreak\r\n\ttab", "Ünïcödé 中文 かな Привет 😀🎉👨‍👩‍👧", "1234567 3.14", "x\u0000y",
    "<|im_start|>user\nhi<|im_end|>", "<tool_call>1</tool_call>", "<s>not</s>", "▁metaspace▁",
    "def f(x):\n    return x", "e\u0301 é", "\ufeffbom", "a" * 50, "<0x41>", "ĠĊ",
]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|begin▁of▁text|>", "<|end▁of▁text|>"])
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    config = {"bos_token": "<|begin▁of▁text|>",
              "eos_token": {"__type": "AddedToken", "content": "<|end▁of▁text|>"},
              "add_bos_token": True, "tokenizer_class": "PreTrainedTokenizerFast"}
    return tokenizer, config


def byte_fallback():
    seed = Tokenizer(models.BPE())
    seed.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    seed.train_from_iterator(CORPUS[:2] * 4, trainers.BpeTrainer(
        vocab_size=150, show_progress=False, special_tokens=[]))
    trained = json.loads(seed.to_str())["model"]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    for token in sorted(trained["vocab"], key=trained["vocab"].get):
        vocab.setdefault(token, len(vocab))
    merges = [tuple(m) for m in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>"}


def expected_bytes(tokenizer, name):
    """Each token's bytes, told from what decoding it after another token adds."""
    alphabet = {c: b for b, c in byte_alphabet().items()}
    out = []
    for i in range(tokenizer.get_vocab_size()):
        token = tokenizer.id_to_token(i)
        if name == "byte_level":
            known = all(c in alphabet for c in token)
            raw = bytes(alphabet[c] for c in token) if known else token.encode()
        elif len(token) == 6 and token.startswith("<0x"):
            raw = bytes([int(token[3:5], 16)])
        else:
            raw = token.replace("▁", " ").encode()
        out.append(raw.hex())
    return out


def byte_alphabet():
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return {**{b: chr(b) for b in own}, **{b: chr(256 + n) for n, b in enumerate(others)}}


def tokenizer_goldens(name, tokenizer, config):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False))
    bos = tokenizer.token_to_id(config["bos_token"])
    cases = []
    for text in TEXTS:
        special = tokenizer.encode(text).ids
        if config.get("add_bos_token"):
            special = [bos] + special
        cases.append({"text": text,
                      "ids": tokenizer.encode(text, add_special_tokens=False).ids,
                      "ids_special": special,
                      "decoded": tokenizer.decode(special, skip_special_tokens=False),
                      "decoded_skip": tokenizer.decode(special, skip_special_tokens=True)})
    special_ids = [i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special]
    golden = {"vocab_size": tokenizer.get_vocab_size(), "special": sorted(special_ids),
              "bytes": expected_bytes(tokenizer, name), "cases": cases}
    (HERE / f"{name}.json").write_text(json.dumps(golden, ensure_ascii=True, indent=0))


TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a city: <now> & \"then\"",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "enum": ["Zürich", "東京"]},
        "days": {"type": "integer", "default": 1, "minimum": 0.5}},
        "required": ["city"]}}}
CALL = {"id": "call12345", "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **extra):
    return {"role": "assistant", "content": text, **extra}


CHATS = {
    "one": {"messages": [user("Hi there")]},
    "system": {"messages": [{"role": "system", "content": " Be brief.\n"}, user("Hi é中😀")]},
    "turns": {"messages": [user(" a "), assistant("<think>\nhm\n</think>\n\n b "), user("c\n")]},
    "reasoning": {"messages": [user("a"), assistant("b", reasoning_content="because")],
                  "add_generation_prompt": False},
    "tools": {"messages": [user("Weather?")], "tools": [TOOL, TOOL]},
    "call": {"messages": [user("Weather?"), assistant(None, tool_calls=[CALL]),
                          {"role": "tool", "content": "{\"t\": 3}", "tool_call_id": "call12345"}],
             "tools": [TOOL]},
    "two_calls": {"messages": [user("Weather?"), assistant("Let me see.", tool_calls=[CALL, CALL])]},
    "wrong_turns": {"messages": [user("a"), user("b")]},
    "named": {"messages": [{"role": "user", "content": "hello", "name": "ann"}]},
    "kwargs": {"messages": [user("a")], "kwargs": {"enable_thinking": False, "thinking": True,
                                                   "date_string": "1 Jan 2030"}},
    "continue": {"messages": [user("a"), assistant(" The answer is ")],
                 "add_generation_prompt": False, "continue_final_message": True},
}


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, tz)


def render(source, chat, tokens):
    return chat_template_utils.render_jinja_template(
        conversations=[chat["messages"]], tools=chat.get("tools"), chat_template=source,
        add_generation_prompt=chat.get("add_generation_prompt", True),
        continue_final_message=chat.get("continue_final_message", False),
        **tokens, **chat.get("kwargs", {}))[0][0]


def template_goldens():
    chat_template_utils.datetime = FixedClock
    chat_template_utils._alias_reasoning_fields = lambda chat: chat
    tokens = {"bos_token": "<BOS>", "eos_token": "<EOS>"}
    cases = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        for name, chat in CHATS.items():
            case = {"template": path.name, "chat": name, **chat}
            try:
                case["text"] = render(path.read_text(), chat, tokens)
            except Exception as error:  # what raise_exception said, or that it fails at all
                raised = type(error).__name__ == "TemplateError"
                case["error"] = str(error) if raised else ""
            cases.append(case)
    golden = {"now": NOW, "tokens": tokens, "cases": cases}
    (HERE / "templates.json").write_text(json.dumps(golden, ensure_ascii=True, indent=0))


if __name__ == "__main__":
    tokenizer_goldens("byte_level", *byte_level())
    tokenizer_goldens("byte_fallback", *byte_fallback())
    template_goldens()
