#!/usr/bin/env python3
"""Makes the tiny checkpoints and all goldens under tests/golden; needs torch and transformers.

    make.py [NAME...] [--out tests/golden] [--check]

NAME is demo, text, a checkpoint of tiny_configs.py or quantised.py, or a set of elastic.py; none means
all. --check remakes into a temporary folder and compares with --out instead of writing there: exit 1 if
a stored weight differs, or a log-probability by more than 1e-4 (another torch may sum in another order).
"""

import argparse
import pathlib
import sys
import tempfile

import elastic
import files
import quantised
import text
import tiny
import torch
import truth
from tokenizers import Tokenizer

REPO = pathlib.Path(__file__).resolve().parents[2]
LENGTHS = [1, 2, 3, 4, 7, 10, 16, 17, 31, 32, 33, 48, 63, 64, 65, 80, 96, 100, 127, 128, 129, 150, 160,
           180, 191, 192, 199, 200]
TARGET_ENTROPY = 2.5  # nats; ln(512) is 6.2


def prompt_ids(folder):
    """One prompt of each length: passages of prompts.txt, opened by BOS where the tokenizer adds one."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    passages = (REPO / "tools/golden/prompts.txt").read_text(encoding="utf-8").split("\n%\n")
    prompts = []
    for i, length in enumerate(LENGTHS):
        ids = tokenizer.encode(passages[i % len(passages)].strip()).ids
        if len(ids) < length:
            raise SystemExit(f"prompts.txt: passage {i % len(passages)} has {len(ids)} tokens, "
                             f"{length} are needed")
        prompts.append(ids[:length])
    return prompts


def make(name, out, demo):
    if name == "text":
        files.write_json(out / "tokenizer.json", text.tokenizer_goldens(demo), False)
        files.write_json(out / "chat.json", text.chat_goldens(demo), False)
        return
    if name in elastic.NAMES:
        elastic.make(name, out, demo)
        return
    folder = demo
    if name in tiny.TINY:
        folder = out / name
        tiny.write(name, folder, demo, TARGET_ENTROPY,
                   lambda f: truth.entropy_of(f, prompt_ids(f)[10:14]))
    if name in quantised.QUANTISED:
        folder = out / name
        with tempfile.TemporaryDirectory() as plain:
            quantised.write(name, folder, pathlib.Path(plain), demo, TARGET_ENTROPY,
                            lambda f: truth.entropy_of(f, prompt_ids(f)[10:14]))
            value = truth.goldens(pathlib.Path(plain), prompt_ids(folder))
    else:
        value = truth.goldens(folder, prompt_ids(folder))
    files.write_json(out / f"{name}.json.gz", value, True)
    noise = value["bf16_next_token"]
    print(f"{name}: entropy {value['mean_entropy']:.2f}, bf16 run off by {noise['mean']:.5f} mean, "
          f"{noise['p99']:.5f} p99, {noise['max']:.5f} max over {noise['positions']} positions",
          flush=True)


def main():
    names = ["text", "demo", *tiny.TINY, *quantised.QUANTISED, *elastic.NAMES]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*names, []])
    parser.add_argument("--out", type=pathlib.Path, default=REPO / "tests/golden")
    parser.add_argument("--demo", type=pathlib.Path, default=REPO / "models/demo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        out = pathlib.Path(temporary) if args.check else args.out
        out.mkdir(parents=True, exist_ok=True)
        for name in args.names or names:
            make(name, out, args.demo)
        if args.check:
            bad = files.check(out, args.out, not args.names)
            print("\n".join(bad) or "goldens are as committed")
            sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
