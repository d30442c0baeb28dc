"""latentd beside llama.cpp, on one machine, on the same weights: decode, prefill, and over HTTP.

Fetches and builds llama.cpp, writes the model for both, checks that both compute the same thing, then
times them in turn, round by round, and writes the ratios. Everything fetched or made lies in .cache/peers.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import sys

import agree
import llama_cpp
import model_files
import report
import works
from latentd import Latentd
from llama_cpp import LlamaCpp
from transformers_peer import Transformers

CACHE = pathlib.Path(".cache/peers")
GROUPS = ["decode", "prefill", "http", "deep", "int8"]


def arguments():
    p = argparse.ArgumentParser(prog="bench/peers/run", description=__doc__.split("\n")[0])
    p.add_argument("--rows", default="decode,prefill,http", metavar="GROUP[,GROUP...]",
                   help=f"of {', '.join(GROUPS)} [%(default)s]; deep is decode at 32k, many minutes a round")
    p.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="[one per processor]")
    p.add_argument("--latentd", default="build/release/latentd", metavar="PROGRAM", help="[%(default)s]")
    p.add_argument("--int8-args", default="--weights int8", metavar="FLAGS", help="[%(default)s]")
    p.add_argument("--transformers", metavar="PYTHON", help="an interpreter with torch and transformers, timed as well")
    p.add_argument("--quick", action="store_true", help="tiny works, one round, into .cache/peers: only shows that all runs")
    p.add_argument("--out", type=pathlib.Path, help="OUT.md and OUT.json [bench/results/peers-cpu]")
    p.add_argument("--jobs", type=int, default=1, help="of llama.cpp's build [%(default)s]")
    a = p.parse_args()
    a.rows = a.rows.split(",")
    if unknown := set(a.rows) - set(GROUPS):
        p.error(f"no rows are called {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if a.quick:
        a.rounds = 1
    a.out = a.out or (CACHE / "quick" if a.quick else pathlib.Path("bench/results/peers-cpu"))
    return a


def time_rounds(work, contestants, rounds):
    """The contestants take turns; each round begins with another one."""
    row = report.Row(work.name, work.goal, {who.name: command_text(work.commands(who)) for who in contestants},
                     {who.name: [] for who in contestants}, {who.name: [] for who in contestants})
    for i in range(rounds):
        row.idle.append(report.idle_share())
        turn = i % len(contestants)
        for who in contestants[turn:] + contestants[:turn]:
            seen = work.run(who, seed=f"round {i}")
            row.figures[who.name].append(seen.pop("tokens_per_second"))
            row.details[who.name].append(seen)
            print(f"{work.name}, round {i + 1}, {who.name}: {row.figures[who.name][-1]:.2f} tokens/s", file=sys.stderr)
    return row


def command_text(command):
    return shlex.join(map(str, command))


def version(program):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return f"{llama_cpp.output([program, '--version']).strip()} ({commit.stdout.strip() or 'no commit'})"


def main():
    os.chdir(model_files.ROOT)
    a = arguments()
    CACHE.mkdir(parents=True, exist_ok=True)
    programs = llama_cpp.build(CACHE, a.jobs)
    folder, files = model_files.make(CACHE, ["bf16", "q8_0"] if "int8" in a.rows else ["bf16"])
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]

    ours = Latentd(a.latentd, folder, a.threads)
    peers = [LlamaCpp(programs, files["bf16"], a.threads, flash) for flash in ("on", "off")]
    about = {"command": command_text(["bench/peers/run", *sys.argv[1:]]), "date": report.today(),
             "machine": report.processor(), "threads": a.threads, "latentd": version(a.latentd),
             "llama.cpp": f"llama.cpp of llama-cpp-python {llama_cpp.VERSION}",
             "agreement": agree.check(ours, peers[0], vocab_size, CACHE)}
    print(f"agreement: {about['agreement']}", file=sys.stderr)

    rows = []
    groups = (works.quick if a.quick else works.full)(vocab_size, CACHE)
    for group in a.rows:
        contestants = [ours, *peers]
        if group == "int8":
            contestants = [Latentd(a.latentd, folder, a.threads, shlex.split(a.int8_args)),
                           *(LlamaCpp(programs, files["q8_0"], a.threads, flash) for flash in ("on", "off"))]
        for work in groups[group]:
            has_third = a.transformers and group != "int8" and work.is_single
            third = [Transformers(a.transformers, folder, a.threads)] if has_third else []
            rows.append(time_rounds(work, contestants + third, a.rounds))
            report.write(a.out, rows, about)  # after each row: an interrupted run keeps what it has
    print(a.out.with_suffix(".md").read_text(), end="")


if __name__ == "__main__":
    main()
