"""llama.cpp: fetched as the source package of llama-cpp-python, built for this machine, and timed."""

import contextlib
import json
import os
import statistics
import subprocess
import sys

import load
import servers

VERSION = "0.3.36"  # of llama-cpp-python, whose source package carries llama.cpp
KEPT_VOCAB_SIZE = 32768  # ids of the prompt that a server keeps lie below it
PROGRAMS = ["llama-bench", "llama-batched-bench", "llama-server"]
OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF",
           "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF",
           "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"]


def build(cache, jobs):
    """The folder of the built programs. The build runs at the lowest priority."""
    package = f"llama_cpp_python-{VERSION}"
    archive, source = cache / f"{package}.tar.gz", cache / package / "vendor/llama.cpp"
    if not archive.exists():
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python",
                        "-d", cache, f"llama-cpp-python=={VERSION}"], check=True)
    if not (cache / package / "complete").exists():
        subprocess.run(["tar", "-xzf", archive, "-C", cache, f"{package}/vendor/llama.cpp"], check=True)
        (cache / package / "complete").touch()
    folder = cache / "build"
    environment = {**os.environ, "CCACHE_BASEDIR": cache.resolve(), "CCACHE_NOHASHDIR": "1"}
    # Real paths: worktrees may share one cache by a link, and CMake builds anew under another name.
    for command in (["cmake", "-G", "Ninja", "-S", source.resolve(), "-B", folder.resolve(), *OPTIONS],
                    ["nice", "-n", "19", "ninja", "-C", folder, "-j", str(jobs), *PROGRAMS]):
        subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    return folder / "bin"


def build_of(programs):
    done = subprocess.run([programs / "llama-server", "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=True)
    compiler = [line for line in done.stdout.splitlines() if line.startswith("built with")]
    return f"llama.cpp of llama-cpp-python {VERSION}, {compiler[0]}, {' '.join(OPTIONS[:2])}"


class LlamaCpp:
    """One GGUF file under one setting of flash attention ("on" or "off")."""

    def __init__(self, programs, model, threads, flash):
        self.programs, self.model, self.threads, self.flash = programs, model, threads, flash
        self.name = f"llama.cpp {model.stem.split('-')[-1]}, flash attention {flash}"
        self._kept, self._port = contextlib.ExitStack(), None

    def _common(self):
        return ["-m", self.model, "-t", str(self.threads), "-fa", self.flash]

    def single_command(self, new, depth, kind):
        sizes = ["-p", str(new), "-n", "0"] if kind == "prefill" else ["-p", "0", "-n", str(new)]
        return [self.programs / "llama-bench", *self._common(), *sizes, "-d", str(depth), "-r", "3", "-o", "json"]

    def single(self, new, depth, kind):
        """Figures of `new` tokens of one sequence after `depth`: a prompt at once, or one by one."""
        [report] = json.loads(output(self.single_command(new, depth, kind)))
        assert report["n_depth"] == depth and report["n_gen" if kind == "decode" else "n_prompt"] == new
        return {"tokens_per_second": statistics.median(report["samples_ts"])}

    def batch_command(self, batch, new, depth):
        """One prompt, computed once and copied into each sequence's own cache (-pps without a unified cache)."""
        return [self.programs / "llama-batched-bench", *self._common(), "-tb", str(self.threads),
                "-c", str(batch * (depth + new)), "-npp", str(depth), "-ntg", str(new), "-npl", str(batch),
                "-pps", "--output-format", "jsonl"]

    def batch(self, batch, new, depth):
        """Figures of `batch` sequences that each decode `new` tokens after `depth` of their own."""
        lines = output(self.batch_command(batch, new, depth)).splitlines()
        [report] = [json.loads(line) for line in lines if line.startswith("{")]
        assert report["pl"] == batch and report["pp"] == depth and report["tg"] == new
        return {"tokens_per_second": report["speed_tg"]}

    def kept_command(self, new, depth):
        return self.serve_command("PORT", 1, depth + new + 1)

    def kept(self, new, depth):
        """The same as single's decode, by a server that computes the depth in the first round and keeps it.

        Its own clock times the steps, the choice of a token included: below 1 % of a step at such depths.
        """
        if self._port is None:
            log = self.model.with_name(f"kept-{self.flash}.log")
            self._port = self._kept.enter_context(servers.running(self, 1, depth + new + 1, log))
            self._continue(1, depth)
        timings = self._continue(new + 1, depth)  # the first comes from the prompt's own logits
        assert timings["cache_n"] == depth - 1 and timings["prompt_n"] == 1 and timings["predicted_n"] == new + 1
        return {"tokens_per_second": timings["predicted_per_second"]}

    def _continue(self, new, depth):
        body = {"prompt": load.prompt(KEPT_VOCAB_SIZE, depth, "kept"), "n_predict": new, "temperature": 0,
                "ignore_eos": True, "cache_prompt": True}
        return json.loads(servers.post(self._port, "/completion", json.dumps(body)))["timings"]

    def release(self):
        """Ends the server that kept a depth."""
        self._kept.close()
        self._port = None

    def serve_command(self, port, clients, context):
        """Room for every client at once, and nothing kept from one request to the next."""
        return [self.programs / "llama-server", *self._common(), "-tb", str(self.threads),
                "--host", "127.0.0.1", "--port", str(port), "-np", str(clients),
                "-c", str(clients * context), "--no-cache-prompt", "--cache-ram", "0"]


def output(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout
