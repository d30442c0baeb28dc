"""A text to score: documents of the demo corpus that the model was not trained on.

    held_out.py CORPUS_DIR OUT.txt [--bytes N]

joins the held-out documents whose sources are in the public domain, in the order of the corpus, and cuts after
N bytes.
"""

import argparse
import json
import pathlib

SOURCES = ("austen", "bible", "jargon")  # the handbook's licence asks for more than a mention


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--bytes", type=int, default=100_000)
    args = parser.parse_args()
    with open(args.corpus / "documents.jsonl", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    text = "\n\n".join(d["text"] for d in documents
                       if d["split"] == "held_out" and d["source"] in SOURCES)
    # "ignore": a character that the cut goes through is left out.
    args.out.write_text(text.encode()[:args.bytes].decode(errors="ignore"), encoding="utf-8")


if __name__ == "__main__":
    main()
