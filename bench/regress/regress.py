#!/usr/bin/env python3
"""Is this tree slower than an earlier revision? Both programs run `latentd bench` in turns on this machine.

  bench/regress/regress.py [BASE]       BASE: the revision to compare with, HEAD~1 without
      --rounds N        rounds of base, change, base (5)
      --bound R         exit status 1 when a work takes more than R times as long (1.25)
      --base-binary P --binary P        programs that are already built
      -- ARGS           of `latentd bench`, instead of the demo model and a random expmla-1

Every round runs base, change and base again. The two runs of the base say what the machine's noise is: a work
counts as slower or faster only when its median ratio is further from 1 than nine in ten of theirs.
"""
import argparse
import dataclasses
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKS = [
    ["--depth", "0,512", "--prefill", "256", "--batch", "1,32"],
    ["--random-weights", str(ROOT / "configs/models/expmla-1.json"), "--depth", "0,2048",
     "--synthetic-cache", "--prefill", "256", "--batch", "1,16"],
]


@dataclasses.dataclass
class Row:
    """One work: seconds of change over base, and of base over base, round by round."""
    name: str
    ratios: list = dataclasses.field(default_factory=list)
    noise: list = dataclasses.field(default_factory=list)

    @property
    def ratio(self):
        return statistics.median(self.ratios)

    @property
    def band(self):
        """How far from 1 the base is from itself, in nine rounds of ten."""
        off = sorted(max(r, 1 / r) for r in self.noise)
        return off[min(len(off) - 1, round(0.9 * len(off)))]

    def verdict(self, bound):
        if self.ratio > bound and self.ratio > self.band:
            return "TOO SLOW"
        if self.ratio > self.band:
            return "slower"
        return "faster" if 1 / self.ratio > self.band else "same"


def build(revision):
    """The program of a revision, built in a worktree of its own."""
    found = subprocess.run(["git", "rev-parse", "--verify", "--quiet", revision + "^{commit}"], cwd=ROOT, check=False,
                           text=True, capture_output=True)
    if found.returncode != 0:
        sys.exit(f"{revision} names no revision")
    sha = found.stdout.strip()
    tree = ROOT / ".cache/regress" / sha[:12]
    if not tree.exists():
        subprocess.run(["git", "worktree", "add", "--detach", tree, sha], cwd=ROOT, check=True)
        same_crate = subprocess.run(["git", "diff", "--quiet", sha, "--", "text"], cwd=ROOT, check=False)
        if same_crate.returncode == 0 and (ROOT / "build/rust").exists():
            shutil.copytree(ROOT / "build/rust", tree / "build/rust")
    subprocess.run([tree / "scripts/build", "release", "latentd"], cwd=tree, check=True)
    return tree / "build/release/latentd"


def measure(binary, args):
    """Median seconds of every work, by its name."""
    done = subprocess.run([binary, "bench", "--repeat", "3", "--json", *args], text=True, stdout=subprocess.PIPE,
                          check=False)
    if done.returncode != 0:
        sys.exit(f"{binary} bench {' '.join(args)}: exit status {done.returncode}")
    report = json.loads(done.stdout)
    return {f"{pathlib.Path(report['model']).stem} {r['kind']} {r['batch']} × {r['tokens']} at {r['depth']}":
            statistics.median(r["seconds"]) for r in report["rows"]}


def compare(base, change, rounds, works):
    rows = {}
    for done in range(rounds):
        for args in works:
            before, now, after = measure(base, args), measure(change, args), measure(base, args)
            for name in before.keys() & now.keys():
                row = rows.setdefault(name, Row(name))
                row.ratios.append(now[name] / (before[name] * after[name]) ** 0.5)
                row.noise.append(after[name] / before[name])
        if sys.stderr.isatty():
            print(f"round {done + 1} of {rounds}", file=sys.stderr)
    return sorted(rows.values(), key=lambda row: -row.ratio)


def main():
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    bench_args = sys.argv[split + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", default="HEAD~1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bound", type=float, default=1.25)
    parser.add_argument("--base-binary", type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path)
    args = parser.parse_args(sys.argv[1:split])
    if args.rounds < 1 or args.bound < 1:
        parser.error("--rounds and --bound must be at least 1")
    base = args.base_binary or build(args.base)
    if not args.binary:
        subprocess.run([ROOT / "scripts/build", "release", "latentd"], cwd=ROOT, check=True)
    rows = compare(base, args.binary or ROOT / "build/release/latentd", args.rounds,
                   [bench_args] if bench_args else WORKS)
    if not rows:
        sys.exit("the two programs have no work in common")
    print(f"{'time, change over base':<44} median   lowest … highest  noise")
    for row in rows:
        print(f"{row.name:<44} {row.ratio:6.3f}   {min(row.ratios):6.3f} … {max(row.ratios):6.3f}  {row.band:6.3f}  "
              f"{row.verdict(args.bound)}")
    return 1 if any(row.verdict(args.bound) == "TOO SLOW" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
