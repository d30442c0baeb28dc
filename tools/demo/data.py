"""Token streams of the demo corpus and the windows that training draws from them."""

import json
import pathlib

import jinja2
import torch
from tokenizers import Tokenizer

CHAT_SHARE = 8  # one window in so many is chat


def render_chat(template, messages, bos):
    """The chat template's text, with the settings that transformers renders it with."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        messages=messages, bos_token=bos, add_generation_prompt=False)


class Corpus:
    """Training text and chat streams, and held-out windows; ids of the folder's tokenizer."""

    def __init__(self, corpus, model):
        corpus, model = pathlib.Path(corpus), pathlib.Path(model)
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        settings = json.loads((model / "tokenizer_config.json").read_text())
        self.bos = tokenizer.token_to_id(settings["bos_token"])
        eos = tokenizer.token_to_id(settings["eos_token"])
        with open(corpus / "documents.jsonl", encoding="utf-8") as lines:
            documents = [json.loads(line) for line in lines]
        with open(corpus / "chats.jsonl", encoding="utf-8") as lines:
            chats = [render_chat(settings["chat_template"], json.loads(line), settings["bos_token"])
                     for line in lines]

        def stream(split):
            texts = [d["text"] for d in documents if d["split"] == split]
            parts = tokenizer.encode_batch(texts)
            return torch.tensor([i for p in parts for i in p.ids + [eos]]), sum(
                len(t.encode()) for t in texts)

        self.train, _ = stream("train")
        self.held_out, held_out_bytes = stream("held_out")
        self.bytes_per_token = held_out_bytes / len(self.held_out)
        parts = [e.ids for e in tokenizer.encode_batch(chats, add_special_tokens=False)]
        self.chat = torch.tensor([i for ids in parts for i in ids])
        starts = torch.tensor([0] + [len(ids) for ids in parts]).cumsum(0)[:-1]
        self.chat_starts = starts[starts < len(self.chat) - 2048]

    def batch(self, generator, count, length):
        """[count, length + 1] training windows: text at any offset, chat at a conversation's start.

        The first token is always BOS, as it is for every request that the server gets.
        """
        rows = []
        for i in range(count):
            if i % CHAT_SHARE == CHAT_SHARE - 1:
                pick = torch.randint(len(self.chat_starts), (1,), generator=generator)
                source, start = self.chat, int(self.chat_starts[pick])
            else:
                source = self.train
                start = int(torch.randint(len(source) - length - 1, (1,), generator=generator))
            rows.append(source[start:start + length + 1])
        rows = torch.stack(rows)
        rows[:, 0] = self.bos
        return rows

    def held_out_windows(self, length):
        """[n, length + 1] consecutive held-out windows, each opened by BOS; nothing scored twice."""
        count = (len(self.held_out) - 1) // length
        rows = torch.stack([self.held_out[i * length:(i + 1) * length + 1] for i in range(count)])
        rows[:, 0] = self.bos
        return rows
