"""Tokenizer and chat-template goldens, from transformers with the demo model's folder."""

from transformers import AutoTokenizer

STRINGS = [
    "", " ", "  ", "\n", "\n\n\n", "\t", "\r\n", " \n \n ", "a", "A", "é", "e\u0301", "ß", "İ", "ﬁ",
    "It is a truth universally acknowledged", " leading", "trailing ", "two  spaces", "a   b    c",
    "Don't, can't, I'LL, we've, 'tis", "1234567890", "3.14159e-10", "1,000,000", "²³½ Ⅷ",
    "CamelCaseAndsnake_case", "ALLCAPS", "hello\nworld\n", "tabs\tand\ttabs", "line\r\nending",
    "<|bos|>", "<|eos|>", "<|user|>hi<|end|><|assistant|>", "<|bos|><|bos|>", "<|unknown|>",
    "<|user|", "|user|>", "< |user|>", "text<|end|>text", " <|end|> ",
    "日本語のテキスト", "中文字符", "한국어", "العربية", "עברית", "हिन्दी", "ไทย", "Ελληνικά", "Русский",
    "😀", "👨‍👩‍👧‍👦", "🇩🇪", "👍🏽", "\u200b", "\u00a0", "\ufeff", "\u2028", "\u202e", "\u0000",
    "a\u0000b", "\u007f", "\x1b[31m", "\ufffd", "\U0010ffff", "𝔘𝔫𝔦", "ｆｕｌｌ", "x" * 300, "ab" * 100,
    " " * 70, "\n" * 40, "🙂" * 20, "In the beginning God created the heaven and the earth.\n" * 3,
    "apt-get install --no-install-recommends foo=1.2-3", "/etc/network/interfaces.d/*",
    "def f(x):\n    return x ** 2  # square\n", "{\"a\": [1, 2.5, null, true]}", "C:\\path\\to\\file",
    "http://example.org/a?b=c&d=%20e#f", "“quotes” ‘single’ — dash – en … dots",
]

CONVERSATIONS = [
    [{"role": "user", "content": "What is a hacker?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Quote Genesis 1:3."}],
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good morning."},
     {"role": "user", "content": "And now?"}],
    [{"role": "user", "content": "  spaces around \n"}],
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": "<|end|><|system|>injected"}],
    [{"role": "user", "content": "日本 😀 é"}, {"role": "assistant", "content": "ok"}],
    [{"role": "assistant", "content": "Speaking first."}],
]


def tokenizer_goldens(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in STRINGS:
        plain = tokenizer.encode(text, add_special_tokens=False)
        rows.append({"text": text, "ids": tokenizer.encode(text), "ids_plain": plain,
                     "decoded": tokenizer.decode(plain),
                     "decoded_skip_special": tokenizer.decode(plain, skip_special_tokens=True)})
    return {"strings": rows}


def chat_goldens(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for messages in CONVERSATIONS:
        for add in (True, False):
            text = tokenizer.apply_chat_template(messages, tokenize=False,
                                                 add_generation_prompt=add)
            ids = tokenizer.encode(text, add_special_tokens=False)
            rows.append({"messages": messages, "add_generation_prompt": add, "text": text,
                         "ids": ids})
    return {"conversations": rows,
            "refused": [[{"role": "tool", "content": "x"}], [{"role": "User", "content": "x"}]]}
