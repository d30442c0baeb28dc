"""latentd beside llama.cpp, on one machine, on the same weights: decode, prefill, and over HTTP.

Fetches and builds llama.cpp, writes the model for both, checks that both compute the same thing, then
times them in turn, round by round, and writes the ratios. Everything fetched or made lies in .cache/peers.
"""

import argparse
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys

import agree
import llama_cpp
import model_files
import report
import works
from latentd import Latentd, measure_roofs
from llama_cpp import LlamaCpp
from rounds import command_text, time_rounds
from transformers_peer import Transformers

CACHE = pathlib.Path(".cache/peers")
GROUPS = ["decode", "prefill", "http", "deep", "int8", "int8-http"]


def arguments():
    p = argparse.ArgumentParser(prog="bench/peers/run", description=__doc__.split("\n")[0])
    p.add_argument("--rows", default="decode,prefill,http", metavar="GROUP[,GROUP...]",
                   help=f"of {', '.join(GROUPS)} [%(default)s]; deep is decode at 32k, where llama.cpp takes long to get")
    p.add_argument("--rounds", type=int, default=3, help="[%(default)s]")
    p.add_argument("--flash", choices=["on", "off"], help="the one setting of llama.cpp's flash attention [both]")
    p.add_argument("--every-setting", action="store_true",
                   help="time both settings of llama.cpp in each round, not only those that the first one leaves")
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
    if a.rounds < 1:
        p.error("--rounds must be at least 1")
    if a.quick:
        a.rounds = 1
    a.out = a.out or (CACHE / "quick" if a.quick else pathlib.Path("bench/results/peers-cpu"))
    return a


def build_of(program, threads):
    """The program's build as it says itself, and the commit of the tree that it should be of."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=9"], capture_output=True, text=True,
                            check=False)
    return f"{measure_roofs(program, threads)[1]} (tree {commit.stdout.strip() or 'without commit'})"


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are stopped on the way out
    os.chdir(model_files.ROOT)
    a = arguments()
    CACHE.mkdir(parents=True, exist_ok=True)
    programs = llama_cpp.build(CACHE, a.jobs)
    folder, files = model_files.make(CACHE, ["bf16", "q8_0"] if {"int8", "int8-http"} & set(a.rows) else ["bf16"])
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]

    ours = Latentd(a.latentd, folder, a.threads)
    settings = [a.flash] if a.flash else ["on", "off"]
    peers = [LlamaCpp(programs, files["bf16"], a.threads, flash) for flash in settings]
    about = {"command": command_text(["bench/peers/run", *sys.argv[1:]]), "date": report.today(),
             "machine": report.processor(), "threads": a.threads, "latentd": build_of(a.latentd, a.threads),
             "llama.cpp": llama_cpp.build_of(programs), "agreement": agree.check(ours, peers[0], vocab_size, CACHE)}
    print(f"agreement: {about['agreement']}", file=sys.stderr)

    rows = []
    groups = (works.quick if a.quick else works.full)(vocab_size, CACHE)
    for group in a.rows:
        contestants = [ours, *peers]
        if group.startswith("int8"):
            contestants = [Latentd(a.latentd, folder, a.threads, shlex.split(a.int8_args)),
                           *(LlamaCpp(programs, files["q8_0"], a.threads, flash) for flash in settings)]
        for work in groups[group]:
            has_third = a.transformers and not group.startswith("int8") and work.is_single
            third = [Transformers(a.transformers, folder, a.threads)] if has_third else []
            rows.append(time_rounds(work, contestants + third, a.rounds,
                                    lambda: measure_roofs(a.latentd, a.threads)[0], a.every_setting))
            report.write(a.out, rows, about)  # after each row: an interrupted run keeps what it has
    print(report.markdown(rows, about), end="")


if __name__ == "__main__":
    main()
