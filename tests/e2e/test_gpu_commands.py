"""What scripts/gpu-check and bench/gpu/run share: options, the question for a device, the build before them, and the
revision that scripts/build notes. The driver and the build are played."""
import os
import shutil
import subprocess

import pytest

from conftest import ROOT
from gpu_fakes import Machine

COMMANDS = {"scripts/gpu-check": "gpu-check", "bench/gpu/run": "gpu-bench"}
NO_DEVICE = "no device of compute capability 9.0: nothing was run\n"
DRIVER = """
static const int known[][2] = {CAPABILITIES {0, 0}};
int cuInit(unsigned flags) { return flags ? 1 : INIT; }
int cuDeviceGetCount(int* count) { *count = sizeof known / sizeof known[0] - 1; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal + 7; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  if (attribute < 75 || attribute > 76 || device < 7) return 1;
  *value = known[device - 7][attribute - 75];
  return 0;
}
"""


class Checkout(Machine):
    """A checkout of scripts alone, whose build brings what is played in `bin`."""

    def __init__(self, folder):
        super().__init__(folder)
        self.root = folder / "checkout"
        for name in ("tools/gpu", "bench/gpu", "scripts"):
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.play("build", f"""
import shutil
to = pathlib.Path({str(self.root / "build/cuda")!r})
to.mkdir(parents=True, exist_ok=True)
if argv == ["cuda"]:
    for path in pathlib.Path({str(self.bin)!r}).iterdir(): shutil.copy(path, to)
    (to / "REVISION").write_text("v1-3-g0123456\\n")
""", self.root / "scripts")

    def play_driver(self, init, capabilities):
        """capabilities: of each device; None: no library that can be opened."""
        library = self.folder / "lib/libcuda.so.1"
        library.parent.mkdir()
        if capabilities is None:
            library.write_text("")
            return
        listed = "".join(f"{{{major}, {minor}}}," for major, minor in capabilities)
        subprocess.run(["cc", "-x", "c", "-shared", "-fPIC", f"-DINIT={init}", f"-DCAPABILITIES={listed}", "-o", library,
                        "-"], input=DRIVER, text=True, check=True)

    def run_here(self, command, *arguments):
        return self.start(self.root / command, *arguments, LD_LIBRARY_PATH=str(self.folder / "lib"))


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path)
    made.play_device({"decode": {}})
    made.play("cuda_one_device_test", "")
    return made


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("init, capabilities", [(0, None), (100, [(9, 0)]), (0, []), (0, [(8, 9), (9, 1), (10, 0)])])
def test_a_checkout_builds_nothing_without_a_device(checkout, command, init, capabilities):
    checkout.play_driver(init, capabilities)
    done = checkout.run_here(command)
    assert done.returncode == 77 and done.stdout.endswith(f": {NO_DEVICE}") and done.stdout.count("\n") == 1, done
    assert not checkout.called()


@pytest.mark.parametrize("command, name", COMMANDS.items())
def test_a_checkout_is_brought_up_to_date_for_a_device(checkout, command, name):
    checkout.play_driver(0, [(8, 6), (9, 0)])
    for _ in range(2):  # programs that are there may be older than the sources
        done = checkout.run_here(command, "--seconds", 0)
        assert done.returncode == 1 and "building the programs in build/cuda" in done.stdout, done
        assert checkout.called()[:3] == ["build cuda latentd_gpu_peers", "build cuda", "latentd_gpu_bench --describe"]
    result = checkout.result(name)
    assert result["revision"] == "v1-3-g0123456" and result["device"]["name"] == "NVIDIA H200"
    assert {step["result"] for step in result["steps"]} == {"not run"}
    checkout.play("build", "sys.exit(argv == ['cuda'])", checkout.root / "scripts")
    done = checkout.run_here(command)
    assert done.returncode == 1 and checkout.called() == ["build cuda latentd_gpu_peers", "build cuda"], done
    assert done.stdout.endswith(": scripts/build cuda failed, see above; --binaries DIR takes programs as they are\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_programs_that_are_named_or_bundled_are_taken_as_they_are(checkout, command):
    checkout.play_driver(0, None)  # they ask for the device themselves
    assert checkout.run_here(command, "--binaries", checkout.bin, "--seconds", 0).returncode == 1
    assert checkout.called()[0] == "latentd_gpu_bench --describe"
    shutil.copytree(checkout.bin, checkout.root / "bin")
    assert checkout.run_here(command, "--seconds", 0).returncode == 1
    assert checkout.called()[0] == "latentd_gpu_bench --describe"


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    made.play_device()
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_written_is_said_before_anything_is_run(machine, command):
    (machine.folder / "file").write_text("")
    for option, path, file in (("--out", "/proc/foo", "/{}.md"), ("--out", machine.folder / "file", "/{}.md"),
                               ("--state", machine.folder, "")):
        done = machine.run(command, option, path)
        said = f"{command}: {path}{file.format(COMMANDS[command])} cannot be written: "
        assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1, done
        assert not machine.called() and not done.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("seconds", ["-5", "nan", "soon"])
def test_seconds_that_are_none_are_refused(machine, command, seconds):
    done = machine.run(command, "--seconds", seconds)
    assert done.returncode == 2 and f"--seconds: invalid seconds value: '{seconds}'" in done.stderr, done
    assert not machine.called()


@pytest.mark.parametrize("command, name", COMMANDS.items())
def test_the_table_is_printed_before_it_is_written(machine, command, name):
    machine.play("latentd", f"pathlib.Path({str(machine.folder)!r}, 'out/{name}.md').mkdir(exist_ok=True); sys.exit(1)")
    done = machine.run(command)
    assert "IsADirectoryError" in done.stderr and "\n| " in done.stdout and "results:" not in done.stdout, done


@pytest.mark.parametrize("command, name", COMMANDS.items())
def test_the_revision_is_the_one_beside_the_programs(machine, command, name):
    machine.run(command, "--seconds", 0)
    assert machine.result(name)["revision"] == "unknown"
    (machine.bin / "REVISION").write_text("v1-2-g0123456\n")
    machine.run(command, "--seconds", 0)
    assert machine.result(name)["revision"] == "v1-2-g0123456"
    assert "- revision: v1-2-g0123456\n" in (machine.folder / f"out/{name}.md").read_text()


def test_a_whole_build_notes_its_revision(tmp_path):
    def run(*command):
        return subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False,
                              env={**os.environ, "PATH": f"{tmp_path}/tools:/usr/bin:/bin"})

    def git(*words):
        done = run("git", "-c", "user.name=One", "-c", "user.email=one@example.org", *words)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def revision(status, ninja, *targets):
        (tmp_path / "tools/ninja").write_text(f"#!/bin/sh\n{ninja}\n")
        (tmp_path / "tools/ninja").chmod(0o755)
        assert run("scripts/build", "cuda", *targets).returncode == status
        return noted.read_text() if noted.exists() else None

    (tmp_path / "tools").mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/build", tmp_path / "scripts/build")
    (tmp_path / "build/cuda").mkdir(parents=True)
    (tmp_path / "build/cuda/build.ninja").write_text("")
    noted = tmp_path / "build/cuda/REVISION"
    assert revision(0, "exit 0") == "unknown\n"  # no checkout
    git("init", "-q")
    git("add", "scripts")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "--short", "HEAD")
    assert revision(0, "exit 0") == f"{commit}\n"
    assert revision(0, "exit 0", "latentd") is None  # the other programs may be older
    assert revision(0, "exit 0") == f"{commit}\n"
    assert revision(1, "exit 1") is None
    with open(tmp_path / "scripts/build", "a", encoding="utf-8") as script:
        script.write("# changed\n")
    assert revision(0, "exit 0") == f"{commit}-dirty\n"
