"""Rows that `latentd bench --device cuda` measures: a layer with its projections, and a server's step."""
import json
import pathlib
import re
import statistics
import tempfile

import judging
from gpu.programs import digest
from gpu.steps import FAILED, MISSING, PASSED, Outcome, Step, run_program

HERE = pathlib.Path(__file__).resolve().parent
NO_LIBRARY = re.compile("needs cuBLASLt")
NO_CUDA = re.compile("this build has no CUDA")  # what a latentd without it says of --device cuda
TOO_LARGE = re.compile("free on the device|bytes of the device's memory")
# QK-Normed MLA, arXiv 2606.16310: MLA without key norm on H800, bf16, 16 heads, batch 4, ms a layer. The hidden size
# is not stated; layer.json takes DeepSeek-V3's 7168.
PUBLISHED_LAYER_MS = {4096: 1.715, 32768: 2.486, 131072: 5.427, 262144: 13.082}
TIMES_BELOW = {262144: 10}  # of the published time; elsewhere 1
STEP_GOAL = 1.15  # of the time that the bytes alone take
FEW, MANY = 1, 5  # layers: the difference leaves out what is not a layer
SERVER_DEPTH = 4096
SERVER_BATCHES = [1, 64]


class Stopped(Exception):
    def __init__(self, outcome):
        super().__init__(outcome.note)
        self.outcome = outcome


def run_json(command, limit):
    ended = run_program(command, limit)
    if ended.status == 0:
        return json.loads(ended.out)
    for said, lacks in ((NO_CUDA, "latentd --device cuda"), (NO_LIBRARY, "cuBLASLt"),
                        (TOO_LARGE, "device memory for a whole model")):
        if ended.status == 1 and said.search(ended.err):
            raise Stopped(Outcome(MISSING, ended.why(), data={"lacks": lacks}))
    raise Stopped(Outcome(FAILED, ended.why(), data={"output": ended.tail()}))


def bench(latentd, config, depths, batches, limit, *setting):
    """{(depth, batch): row} of decode steps over random latents."""
    report = run_json([latentd, "bench", "--device", "cuda", "--random-weights", config, "--synthetic-cache", "--depth",
                       ",".join(map(str, depths)), "--batch", ",".join(map(str, batches)), "--prefill", 1,
                       "--repeat", 7, "--json", *setting], limit)
    return {(row["depth"], row["batch"]): row for row in report["rows"] if row["kind"] == "decode"}


def measure_layers(latentd, limit):
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for layers in (FEW, MANY):
            config = pathlib.Path(folder, f"{layers}.json")
            config.write_text(json.dumps(json.loads((HERE / "layer.json").read_text()) | {"num_hidden_layers": layers}))
            rows.append(bench(latentd, config, PUBLISHED_LAYER_MS, [4], limit / 2))
    for depth, published in PUBLISHED_LAYER_MS.items():
        few, many = (statistics.median(of[depth, 4]["seconds"]) for of in rows)
        ours = 1e3 * (many - few) / (MANY - FEW)
        goal = published / TIMES_BELOW.get(depth, 1)
        lines.append([f"layer with projections, 4 x {depth // 1024}k", f"{ours:.3f} ms",
                      f"<= {goal:.3f} ms (published: {published} ms on H800)", judging.met(ours <= goal)])
    return Outcome(PASSED, data={"lines": lines})


def measure_server_step(latentd, ceilings_of, limit, name="step of Youtu-2B's shape", setting=()):
    report = run_json([ceilings_of, "--ceilings"], limit)
    rate = report["ceilings"]["copy_bytes_per_second"]
    rows = bench(latentd, HERE / "youtu-2b.json", [SERVER_DEPTH], SERVER_BATCHES, limit, *setting)
    lines = []
    for (_, batch), row in sorted(rows.items()):
        seconds, floor = statistics.median(row["seconds"]), row["bytes"] / rate
        goal = STEP_GOAL * floor
        lines.append([f"{name}, {batch} x {SERVER_DEPTH // 1024}k",
                      f"{seconds * 1e3:.2f} ms, {100 * floor / seconds:.0f} % of its bytes at copy bandwidth",
                      f"<= {goal * 1e3:.2f} ms (floor {floor * 1e3:.2f} ms)", judging.met(seconds <= goal)])
    return Outcome(PASSED, data={"lines": lines})


def steps(programs, device):
    latentd, ceilings_of = programs.find("latentd"), programs.find("latentd_gpu_bench")

    def step(name, limit, measure):
        def run(seconds):
            if latentd is None:
                return Outcome(MISSING, f"{programs.folder} holds no latentd", data={"lacks": "latentd"})
            try:
                return measure(seconds)
            except Stopped as stopped:
                return stopped.outcome
        return Step(name, limit, run, f"{digest(latentd) if latentd else ''} {device}")

    return [step("layer with projections, 16 rows, batch 4", 120, lambda limit: measure_layers(latentd, limit)),
            step("step of Youtu-2B's shape", 120, lambda limit: measure_server_step(latentd, ceilings_of, limit)),
            step("step of Youtu-2B's shape, relaxed", 120,
                 lambda limit: measure_server_step(latentd, ceilings_of, limit, "step of Youtu-2B's shape, relaxed",
                                                   ["--determinism", "relaxed"]))]
