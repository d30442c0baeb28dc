"""latentd on the model folder: `latentd bench` for figures, `latentd serve` for the doors."""

import json
import statistics

from llama_cpp import output

BLOCK_TOKENS = 64


class Latentd:
    name = "latentd"

    def __init__(self, program, model, threads, extra=()):
        self.common = ["--model", str(model), "--threads", str(threads), *extra]
        self.program = program

    def _bench_command(self, depth, prefill, batch):
        """`bench` times a prefill and a decode step; the one that is not wanted is as small as can be."""
        return [self.program, "bench", *self.common, "--repeat", "3", "--json", "--depth", str(depth),
                "--prefill", str(prefill), "--batch", str(batch)]

    def single_command(self, new, depth, kind):
        if kind == "prefill":
            return self._bench_command(depth, new, 1)
        return self.batch_command(1, new, depth)

    def single(self, new, depth, kind):
        """Figures of `new` tokens of one sequence after `depth`: a prompt at once, or one by one."""
        return figures(self.single_command(new, depth, kind), kind)

    def kept_command(self, new, depth):
        return [*self.batch_command(1, new, depth), "--synthetic-cache"]

    def kept(self, new, depth):
        """The same as single's decode, over a cache of random latents, which costs the same."""
        return figures(self.kept_command(new, depth), "decode")

    def release(self):
        """Nothing is kept."""

    def batch_command(self, batch, new, depth):
        """`bench` repeats a step at one depth: the middle of those that llama.cpp walks through."""
        return self._bench_command(depth + new // 2, 1, batch)

    def batch(self, batch, new, depth):
        """Figures of `batch` sequences that each decode `new` tokens after `depth` of their own."""
        return figures(self.batch_command(batch, new, depth), "decode")

    def serve_command(self, port, clients, context):
        """Room for every client at once, in whole blocks. Strict, whatever LATENTD_DETERMINISM says."""
        return [self.program, "serve", *self.common, "--http", f"127.0.0.1:{port}", "--grpc", "127.0.0.1:0",
                "--determinism", "strict", "--cache-tokens", str(clients * (context + BLOCK_TOKENS))]


def figures(command, kind):
    """tokens/s, and how much of the machine's roof in the same run that is."""
    report = json.loads(output(command))
    [row] = [row for row in report["rows"] if row["kind"] == kind]
    return {"tokens_per_second": row["tokens_per_second"], "share_of_roof": row["share_of_roof"],
            **roofs_of(report)}


def roofs_of(report):
    rounds = report["roofs"][0]["rounds"]
    return {"roof_gb_per_second": statistics.median(one["read_bytes_per_second"] for one in rounds) / 1e9,
            "roof_tflops": statistics.median(one["flops_per_second"] for one in rounds) / 1e12}


def measure_roofs(program, threads):
    """({roof_gb_per_second, roof_tflops} of this machine now, the program's build as text): on a small model."""
    report = json.loads(output([program, "bench", "--model", "models/demo", "--threads", str(threads), "--repeat", "3",
                                "--json", "--depth", "0", "--prefill", "1", "--batch", "1"]))
    return roofs_of(report), report["build"]
