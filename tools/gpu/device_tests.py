"""Steps over the device test programs: the suites alone, then their small tests under compute-sanitizer."""
import os
import pathlib
import shutil

from gpu.programs import NO_DEVICE, digest
from gpu.steps import FAILED, MISSING, PASSED, Outcome, Step, run_program

SUITE_SECONDS = 90
SANITIZER_SECONDS = 75
TOOLS = ["memcheck", "racecheck", "synccheck"]
SANITIZER_FOUND = 99  # the exit status that we ask compute-sanitizer for
# It does not run on every virtual machine: then the machine lacks it, whatever is installed.
UNSUPPORTED = ["Device not supported", "device is not supported"]


def find_sanitizer():
    folders = ["/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer"]
    if os.environ.get("CUDA_HOME"):
        folders.insert(0, os.environ["CUDA_HOME"] + "/bin")
    found = shutil.which("compute-sanitizer")
    return found or next((f"{folder}/compute-sanitizer" for folder in folders
                          if pathlib.Path(folder, "compute-sanitizer").is_file()), None)


def judge(ended):
    if ended.status == 0:
        summary = [line for line in ended.out.splitlines() if "assertions in" in line or "All tests passed" in line]
        return Outcome(PASSED, summary[-1].strip() if summary else "")
    if ended.status == NO_DEVICE:
        return Outcome(FAILED, "the program found no device, though there is one")
    return Outcome(FAILED, ended.why(), data={"output": ended.tail()})


def judge_sanitized(ended):
    said = ended.out + ended.err
    if ended.status != 0 and any(words in said for words in UNSUPPORTED):
        return Outcome(MISSING, "compute-sanitizer does not support this device or machine", data={"lacks": "the sanitizer"})
    if ended.status == SANITIZER_FOUND:
        errors = [line.strip("= ") for line in said.splitlines() if "ERROR SUMMARY" in line or "Error:" in line]
        return Outcome(FAILED, errors[-1] if errors else "errors found", data={"output": ended.tail()})
    return judge(ended)


def suite_steps(programs, device):
    def step(name):
        path = programs.find(name)
        return Step(f"suite {name}", SUITE_SECONDS, lambda limit: judge(run_program([path], limit)),
                    f"{digest(path)} {device}")
    if not programs.device_tests():
        lacks = Outcome(MISSING, f"{programs.folder} holds no cuda_*_device_test", data={"lacks": "the device tests"})
        return [Step("suites", 0, lambda _: lacks)]
    return [step(name) for name in programs.device_tests()]


def sanitizer_steps(programs, device, sanitizer):
    """The tests tagged [small], which reach every kernel; a suite that has none fails (Catch's -w NoTests)."""
    def step(tool, name):
        path = programs.find(name)
        command = [sanitizer, "--tool", tool, "--error-exitcode", SANITIZER_FOUND, path, "[small]", "-w", "NoTests"]

        def run(limit):
            if sanitizer is None:
                return Outcome(MISSING, "compute-sanitizer is not on this machine", data={"lacks": "the sanitizer"})
            return judge_sanitized(run_program(command, limit))
        return Step(f"{tool} {name}", SANITIZER_SECONDS, run, f"{digest(path)} {device}")
    return [step(tool, name) for tool in TOOLS for name in programs.device_tests()]
