"""llama.cpp: fetched as the source package of llama-cpp-python, built for this machine, and timed."""

import json
import os
import subprocess
import sys

VERSION = "0.3.36"  # of llama-cpp-python, whose source package carries llama.cpp
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
    environment = {**os.environ, "CCACHE_BASEDIR": os.getcwd(), "CCACHE_NOHASHDIR": "1"}
    for command in (["cmake", "-G", "Ninja", "-S", source, "-B", folder, *OPTIONS],
                    ["nice", "-n", "19", "ninja", "-C", folder, "-j", str(jobs), *PROGRAMS]):
        subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    return folder / "bin"


class LlamaCpp:
    """One GGUF file under one setting of flash attention ("on" or "off")."""

    def __init__(self, programs, model, threads, flash):
        self.programs, self.model, self.threads, self.flash = programs, model, threads, flash
        self.name = f"llama.cpp {model.stem.split('-')[-1]}, flash attention {flash}"

    def _common(self):
        return ["-m", self.model, "-t", str(self.threads), "-fa", self.flash]

    def single_command(self, new, depth, kind):
        sizes = ["-p", str(new), "-n", "0"] if kind == "prefill" else ["-p", "0", "-n", str(new)]
        return [self.programs / "llama-bench", *self._common(), *sizes, "-d", str(depth), "-r", "1", "-o", "json"]

    def single(self, new, depth, kind):
        """Figures of `new` tokens of one sequence after `depth`: a prompt at once, or one by one."""
        [report] = json.loads(output(self.single_command(new, depth, kind)))
        assert report["n_depth"] == depth and report["n_gen" if kind == "decode" else "n_prompt"] == new
        return {"tokens_per_second": report["avg_ts"]}

    def batch_command(self, batch, new, depth):
        return [self.programs / "llama-batched-bench", *self._common(), "-tb", str(self.threads),
                "-c", str(batch * (depth + new)), "-npp", str(depth), "-ntg", str(new), "-npl", str(batch),
                "--output-format", "jsonl"]

    def batch(self, batch, new, depth):
        """Figures of `batch` sequences that each decode `new` tokens after `depth` of their own."""
        lines = output(self.batch_command(batch, new, depth)).splitlines()
        [report] = [json.loads(line) for line in lines if line.startswith("{")]
        assert report["pl"] == batch and report["pp"] == depth and report["tg"] == new
        return {"tokens_per_second": report["speed_tg"]}

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
