"""Where the programs lie (a bundle's bin/, or a build folder), and what device they find."""
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys

from gpu import driver
from gpu.steps import run_program

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build/gpu-results"
BUILD = ROOT / "scripts/build"
NO_DEVICE = 77  # exit status of every program of ours that needs a device and finds none
NO_DEVICE_SENTENCE = "no device of compute capability 9.0: nothing was run"
CUBLAS = "libcublasLt.so.13"  # which relaxed opens, where the loader finds it
PLACES = ["", "tests/kernels/cuda", "bench/gpu", "bench/gpu/peers"]  # of a build folder


class Programs:
    """The executable files of a folder."""

    def __init__(self, folder=None):
        bundled = ROOT / "bin"
        self.folder = pathlib.Path(folder) if folder else bundled if bundled.is_dir() else ROOT / "build/cuda"
        self.made_here = not folder and not bundled.is_dir() and BUILD.exists()

    def revision(self):
        """Of the sources, as scripts/build noted it beside what it built."""
        noted = self.folder / "REVISION"
        return noted.read_text().strip() if noted.exists() else "unknown"

    def find(self, name):
        for place in PLACES:
            path = self.folder / place / name
            if path.is_file() and os.access(path, os.X_OK):
                return path
        return None

    def device_tests(self):
        found = {path.name for place in PLACES for path in (self.folder / place).glob("cuda_*_device_test")
                 if os.access(path, os.X_OK)}
        return sorted(found)


def digest(*paths):
    """Of the files' bytes: a changed program has a changed key."""
    total = hashlib.sha256()
    for path in paths:
        total.update(pathlib.Path(path).read_bytes())
    return total.hexdigest()[:16]


def build():
    """Brings a checkout's programs up to date; whether it could."""
    print("building the programs in build/cuda, which --seconds does not count", flush=True)
    # Other libraries' programs, where there are any, are linked with our kernels too. The whole build is the last and
    # notes the revision.
    return all(subprocess.run([BUILD, "cuda", *targets], check=False).returncode == 0
               for targets in (["latentd_gpu_peers"], []))


def find_device(programs):
    """(facts of the device, None), or (None, why there is none). Builds the programs of a checkout, if the driver knows
    a device."""
    if programs.made_here:
        if not driver.has_our_device():
            return None, NO_DEVICE_SENTENCE
        if not build():
            return None, "scripts/build cuda failed, see above; --binaries DIR takes programs as they are"
    program = programs.find("latentd_gpu_bench")
    if program is None:
        return None, f"{programs.folder} holds no latentd_gpu_bench"
    ended = run_program([program, "--describe"], 60)
    if ended.status == NO_DEVICE:
        return None, NO_DEVICE_SENTENCE
    if ended.status != 0:
        return None, f"latentd_gpu_bench --describe: {ended.why()}"
    facts = json.loads(ended.out)
    facts.update(driver_facts())
    facts.update(offer_cublas())
    return facts, None


def offer_cublas():
    """Lets the programs find cuBLASLt in the Python package nvidia-cublas or in a toolkit, where the loader would not
    look; folders that it was told of before come first."""
    toolkit = pathlib.Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "lib64")
    for folder in [*(pathlib.Path(entry, "nvidia/cu13/lib") for entry in sys.path if entry), toolkit]:
        if (folder / CUBLAS).is_file():
            told = os.environ.get("LD_LIBRARY_PATH")
            os.environ["LD_LIBRARY_PATH"] = f"{told}:{folder}" if told else str(folder)
            return {"cublas": "a toolkit's" if folder == toolkit else package("nvidia-cublas")}
    return {"cublas": "the loader's, if it knows one"}


def package(name):
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return name


def driver_facts():
    """What nvidia-smi says; nothing is set. {} where it is missing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {"nvidia_smi": "not present"}
    names = ["driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem", "power.limit",
             "temperature.gpu", "ecc.mode.current"]
    ended = run_program([tool, "--query-gpu=" + ",".join(names), "--format=csv,noheader", "--id=0"], 30)
    if ended.status != 0:
        return {"nvidia_smi": ended.why()}
    values = [value.strip() for value in ended.out.splitlines()[0].split(",")]
    return dict(zip(names, values))


def device_key(facts):
    return f"{facts['name']} {facts['driver']}"
