"""Questions of the task word_order: which of four sentences has its words in order?

    make_task.py CORPUS_DIR OUT.jsonl [--count N] [--seed S]

Passages and the sentences that follow them come from held-out documents of the demo corpus that are in the
public domain. A wrong answer is the right one with two neighbouring words swapped, so that length and
vocabulary give nothing away.
"""

import argparse
import json
import pathlib
import random
import re

SOURCES = ("austen", "bible", "jargon")


def candidates(text):
    """(passage, sentence that follows it) pairs of one document."""
    for paragraph in text.split("\n\n"):
        parts = re.split(r"(?<=[a-z][.!?;:]) (?=[A-Z])", paragraph.replace("\n", " "))
        for passage, sentence in zip(parts, parts[1:]):
            if len(passage) <= 200 and 40 <= len(sentence) <= 110:
                yield passage, sentence


def swapped(sentence):
    """Every version with two neighbouring plain words swapped, but for the first word."""
    words = sentence.split(" ")
    for i in range(1, len(words) - 1):
        one, other = words[i], words[i + 1]
        if one != other and re.fullmatch(r"[a-z]+", one) and re.fullmatch(r"[a-z]+", other):
            yield " ".join(words[:i] + [other, one] + words[i + 2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=90)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with open(args.corpus / "documents.jsonl", encoding="utf-8") as lines:
        documents = [d for d in map(json.loads, lines) if d["split"] == "held_out"]
    with open(args.out, "w", encoding="utf-8") as out:
        for source in SOURCES:
            pairs = [pair for d in documents if d["source"] == source for pair in candidates(d["text"])
                     if len(list(swapped(pair[1]))) >= 3]
            for passage, answer in rng.sample(pairs, args.count // len(SOURCES)):
                choices = rng.sample(list(swapped(answer)), 3)
                label = rng.randrange(4)
                choices.insert(label, answer)
                out.write(json.dumps({"source": source, "passage": passage, "choices": choices,
                                      "label": label}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
