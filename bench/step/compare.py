#!/usr/bin/env python3
"""Two builds of a benchmark in turn, so that their ratio holds though the machine is shared.

  bench/step/compare.py [--rounds N] BASE NEW [arguments of both …]

BASE and NEW print a list of objects with --json. Of every number whose key names a rate or a time the
median of NEW / BASE over the rounds is printed, with the lowest and the highest.
"""
import argparse
import json
import statistics
import subprocess

MEASURED = {"steps_per_cpu_second", "steps_per_wall_second", "cpu_ns"}


def run(program, arguments):
    """{(name of the row, key): value}"""
    out = subprocess.run([program, "--json", *arguments], check=True, capture_output=True, text=True).stdout
    values = {}
    for row in json.loads(out):
        name = " ".join(str(row[key]) for key in ("what", "batch") if key in row)
        values.update({(name, key): row[key] for key in MEASURED & row.keys()})
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    rounds = []
    for i in range(args.rounds):  # each goes first as often
        order = [args.base, args.new] if i % 2 == 0 else [args.new, args.base]
        results = {program: run(program, args.arguments) for program in order}
        rounds.append((results[args.base], results[args.new]))
    print("| what | base | new | new / base | lowest to highest |\n|---|---|---|---|---|")
    for row in rounds[0][0]:
        ratios = sorted(new[row] / base[row] for base, new in rounds)
        base = statistics.median(base[row] for base, _ in rounds)
        new = statistics.median(new[row] for _, new in rounds)
        middle = statistics.median(ratios)
        print(f"| {' '.join(row)} | {base:.0f} | {new:.0f} | {middle:.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |")


if __name__ == "__main__":
    main()
