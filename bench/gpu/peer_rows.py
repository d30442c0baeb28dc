"""Rows in which another library's decode attention takes turns with ours: latentd_gpu_peer_*, where they were built."""
import json

import judging
from gpu.programs import digest
from gpu.steps import FAILED, MISSING, PASSED, Outcome, Step, run_program

PEERS = {"FlashMLA": "latentd_gpu_peer_flashmla", "FlashInfer": "latentd_gpu_peer_flashinfer"}
ROW_SECONDS = 45
REFUSED = 3  # exit status of a peer's program whose library does not take the row's shape
TOO_LARGE = "bytes of device memory"  # what it says of a row that does not fit


def measure(program, peer, row, limit):
    ended = run_program([program, "--row", row], limit)
    if ended.status == REFUSED or ended.status == 1 and TOO_LARGE in ended.err:
        lacks = f"{peer} for {row}" if ended.status == REFUSED else f"memory for {row}"
        return Outcome(MISSING, ended.why(), data={"lacks": lacks})
    if ended.status != 0:
        return Outcome(FAILED, ended.why(), data={"output": ended.tail()})
    measured = json.loads(ended.out)
    line = judging.judge_peer(measured, peer)
    return Outcome(PASSED, f"{line[1]}; {line[2]}: {line[3]}", data={"lines": [line], "report": measured})


def steps(programs, device):
    """Row by row, every peer of it."""
    made = {}
    for peer, name in PEERS.items():
        program = programs.find(name)
        if program is None:
            continue
        listed = run_program([program, "--list"], 30)
        if listed.status != 0:
            outcome = Outcome(FAILED, f"{name} --list: {listed.why()}")
            made.setdefault("", []).append(Step(peer, 0, lambda limit, outcome=outcome: outcome))
            continue
        for row in listed.out.splitlines():
            made.setdefault(row, []).append(
                Step(judging.beside(row, peer), ROW_SECONDS,
                     lambda limit, program=program, peer=peer, row=row: measure(program, peer, row, limit),
                     f"{digest(program)} {device}"))
    return [step for of_row in made.values() for step in of_row]


def lines_of_missing(programs):
    """A line for each peer that was not built, so that no table is silent about it."""
    return [[peer, "not built: bench/gpu/peers/build makes its program", "-", "-"]
            for peer, name in PEERS.items() if programs.find(name) is None]
