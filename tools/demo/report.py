"""Loss curve, held-out loss by width and samples of a trained demo model.

    report.py CORPUS_DIR MODEL_DIR RUN_DIR PICTURE.svg

Prints the tables of models/demo/README.md; the model is read back from its bf16 checkpoint.
"""

import argparse
import json
import math
import pathlib

import matplotlib
import torch
from tokenizers import Tokenizer

from data import Corpus
from model import LatentMla
from train import WIDTHS_KV, WIDTHS_Q, held_out_loss, keep_freed_memory

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

WINDOW = 512
SAMPLES = ["It is a truth universally acknowledged, that", "And God said",
           "A hacker is", "The package manager"]


def draw_curve(log, picture):
    rows = [json.loads(line) for line in open(log, encoding="utf-8")]
    matplotlib.rcParams["svg.hashsalt"] = "latentd"
    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    tokens = [r["tokens"] / 1e6 for r in rows]
    axes.plot(tokens, [r["train"] for r in rows], color="0.75", label="training, full width")
    for width, color in zip(rows[0]["held_out"], ("C0", "C2", "C3")):
        axes.plot(tokens, [r["held_out"][width] for r in rows], color=color,
                  label=f"held out, q x kv = {width.replace('x', ' x ')}")
    axes.set(xlabel="million tokens", ylabel="nats a token", ylim=(2.5, 6))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(picture, metadata={"Date": None})


def width_table(model, corpus):
    windows = corpus.held_out_windows(WINDOW)[::4]  # every fourth: a minute, not five
    print(f"{windows.shape[0] * WINDOW} held-out tokens in windows of {WINDOW}, "
          f"{corpus.bytes_per_token:.3f} bytes a token\n")
    print("| q | kv | MLP | nats a token | bits a byte |\n|---|---|---|---|---|")
    pairs = list(zip(WIDTHS_Q, WIDTHS_KV))[::-1] + [(96, 8), (16, 64)]
    for q, kv in pairs:
        loss = held_out_loss(model, windows, q, kv)
        bits = loss / math.log(2) / corpus.bytes_per_token
        print(f"| {q} | {kv} | {model.config.mlp_width(q, kv)} | {loss:.3f} | {bits:.3f} |", flush=True)


@torch.no_grad()
def sample(model, tokenizer, text, count=60, temperature=0.8):
    generator = torch.Generator().manual_seed(1)
    ids = tokenizer.encode(text).ids
    for _ in range(count):
        probabilities = torch.softmax(model(torch.tensor([ids]))[0, -1] / temperature, -1)
        ids.append(int(torch.multinomial(probabilities, 1, generator=generator)))
    return tokenizer.decode(ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("corpus", "model", "run", "picture"):
        parser.add_argument(name, type=pathlib.Path)
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    draw_curve(args.run / "log.jsonl", args.picture)
    model, corpus = LatentMla.load(args.model), Corpus(args.corpus, args.model)
    width_table(model, corpus)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    for text in SAMPLES:
        print("\n> " + sample(model, tokenizer, text).replace("\n", "\n> "))


if __name__ == "__main__":
    main()
