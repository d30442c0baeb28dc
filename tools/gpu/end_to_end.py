"""Steps that compare `latentd --device cuda` with `--device cpu` on the demo model."""
import math
import os
import tempfile
import time

from gpu.programs import ROOT, digest
from gpu.steps import FAILED, MISSING, PASSED, Outcome, Step, run_program

SECONDS = 60
DEMO = ROOT / "models/demo"
SCORED_BYTES = 6000
# Each device is within this mean |Δ log-probability| of the fp32 truth (docs/exactness.md, demo), so two devices are
# within twice of it of one another.
MEAN_ERROR = 0.0043
# Along these greedy texts the best token is more than 0.1 ahead of the next, on the CPU. A log-probability of either
# device is within 0.020 of the truth at 99 of 100 positions, so the two may move that lead by 0.08.
PROMPTS = ["And the priest shall", "The house of", "Behold,", "Now the sons of"]
TOKENS = 24
# A step's chunks cut as finely as the options allow: 64 tokens beyond one of each sequence.
FINE_CHUNKS = ["--max-num-seqs", "1", "--max-num-batched-tokens", "65"]
USAGE = 2
NO_CUDA = "this build has no CUDA"  # what a latentd without it says of --device cuda
NO_LIBRARY = "needs cuBLASLt"  # and of relaxed on a machine without it
LACKS = {"lacks": "latentd --device cuda"}


class Run(Exception):
    """A program did not do what was asked; carries the step's outcome."""

    def __init__(self, outcome):
        super().__init__(outcome.note)
        self.outcome = outcome


class Latentd:
    """The program, run within one limit for all its calls together."""

    def __init__(self, path, limit):
        self.path, self.limit = path, limit

    def __call__(self, *arguments):
        began = time.monotonic()
        ended = run_program([self.path, *arguments], self.limit)
        self.limit -= time.monotonic() - began
        if ended.status != 0:
            if NO_LIBRARY in ended.err:
                raise Run(Outcome(MISSING, ended.why(), data={"lacks": "cuBLASLt"}))
            lacks = "cuda" in arguments and (ended.status == USAGE or NO_CUDA in ended.err)
            raise Run(Outcome(MISSING, f"this latentd has no --device cuda: {ended.why()}", data=LACKS) if lacks else
                      Outcome(FAILED, ended.why(), data={"output": ended.tail()}))
        return ended.out

    def generate(self, device, prompt):
        return self("generate", "--model", DEMO, "--device", device, "-p", prompt, "--temperature", 0,
                    "--max-tokens", TOKENS)

    def score(self, device, file, *more):
        """{'log-likelihood': …, 'scored': …, 'hash': …}"""
        out = self("score", "--model", DEMO, "--device", device, "--hash", *more, file)
        lines = dict(line.rsplit(" ", 1) for line in out.splitlines() if not line.startswith("tokens"))
        scored = next(int(line.split()[1]) for line in out.splitlines() if line.startswith("tokens"))
        return {"log-likelihood": float(lines["log-likelihood"]), "scored": scored, "hash": lines["logits hash"]}


def compare_texts(latentd):
    for prompt in PROMPTS:
        ours, cpu = latentd.generate("cuda", prompt), latentd.generate("cpu", prompt)
        if ours != cpu:
            return Outcome(FAILED, f"cuda: {ours!r}, cpu: {cpu!r}")
    return Outcome(PASSED, f"{len(PROMPTS)} greedy texts of {TOKENS} tokens are the CPU's")


def compare_scores(latentd, file, *setting):
    ours, cpu = latentd.score("cuda", file, *setting), latentd.score("cpu", file)
    if ours["scored"] != cpu["scored"]:
        return Outcome(FAILED, f"cuda scored {ours['scored']} tokens, the CPU {cpu['scored']}")
    apart = abs(ours["log-likelihood"] - cpu["log-likelihood"]) / cpu["scored"]
    good = math.isfinite(apart) and apart <= 2 * MEAN_ERROR
    return Outcome(PASSED if good else FAILED, f"{apart:.5f} a token apart over {cpu['scored']} tokens, allowed "
                   f"{2 * MEAN_ERROR}", data={"cuda": ours, "cpu": cpu})


def compare_bits(latentd, file):
    hashes = [latentd.score("cuda", file)["hash"], latentd.score("cuda", file)["hash"],
              latentd.score("cuda", file, *FINE_CHUNKS)["hash"]]
    if len(set(hashes)) > 1:
        return Outcome(FAILED, f"logits hashes {hashes[0]}, again {hashes[1]}, in fine chunks {hashes[2]}")
    return Outcome(PASSED, f"logits hash {hashes[0]} twice, and in chunks of 65 tokens")


def steps(programs, device):
    path = programs.find("latentd")

    def step(name, compare, with_text):
        def run(limit):
            if path is None:
                return Outcome(MISSING, f"{programs.folder} holds no latentd", data=LACKS)
            latentd = Latentd(path, limit)
            try:
                if not with_text:
                    return compare(latentd)
                with tempfile.TemporaryDirectory() as folder:
                    file = os.path.join(folder, "text")
                    with open(file, "wb") as out:
                        out.write((DEMO / "held-out.txt").read_bytes()[:SCORED_BYTES])
                    return compare(latentd, file)
            except Run as stopped:
                return stopped.outcome
        return Step(name, SECONDS, run, f"{digest(path) if path else ''} {device}")

    return [step("generate, cuda against cpu", compare_texts, False),
            step("score, cuda against cpu", compare_scores, True),
            step("score --hash, equal bits", compare_bits, True),
            step("score, cuda relaxed against cpu", lambda *of: compare_scores(*of, "--determinism", "relaxed"), True)]
