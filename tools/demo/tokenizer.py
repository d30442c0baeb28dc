"""Trains the demo model's byte-level BPE tokenizer and writes its Hugging Face files.

    tokenizer.py CORPUS_DIR MODEL_DIR [--vocab 2048]

Writes tokenizer.json, tokenizer_config.json (with the chat template) and generation_config.json.
The vocabulary size includes the special tokens, which come first.
"""

import argparse
import json
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]

CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('unknown role: ' + message['role']) }}
    {%- endif %}
    {{- '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}"""


def train_tokenizer(texts, vocab_size, special=SPECIAL):
    """A byte-level BPE tokenizer that opens every text with special[0]."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{special[0]} $A",
                                      pair=f"{special[0]} $A {special[0]}:1 $B:1",
                                      special_tokens=[(special[0], 0)])])
    return tokenizer


def write_config(folder, name, value):
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    (folder / name).write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--vocab", type=int, default=2048)
    args = parser.parse_args()
    args.model.mkdir(parents=True, exist_ok=True)

    with open(args.corpus / "documents.jsonl", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    texts = [d["text"] for d in documents if d["split"] == "train"]
    tokenizer = train_tokenizer(texts, args.vocab)
    tokenizer.save(str(args.model / "tokenizer.json"))

    bos, eos, end = (tokenizer.token_to_id(t) for t in ("<|bos|>", "<|eos|>", "<|end|>"))
    write_config(args.model, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024,
        "bos_token": "<|bos|>", "eos_token": "<|eos|>", "pad_token": "<|eos|>",
        "add_bos_token": True, "add_eos_token": False, "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE})
    write_config(args.model, "generation_config.json", {
        "bos_token_id": bos, "eos_token_id": [eos, end], "do_sample": True,
        "temperature": 0.8, "top_p": 0.95})
    held_out = [d["text"] for d in documents if d["split"] == "held_out"]
    size = sum(len(t.encode()) for t in held_out)
    count = sum(len(tokenizer.encode(t).ids) - 1 for t in held_out)
    print(f"vocabulary {tokenizer.get_vocab_size()}, held-out {size / count:.3f} bytes a token")


if __name__ == "__main__":
    main()
