"""bench/regress: what it calls slower. The programs that it compares are played here, so that their times are known."""
import subprocess
import sys

import pytest

from conftest import BINARY, ROOT

REGRESS = ROOT / "bench/regress/regress.py"


def program(tmp_path, name, *seconds):
    """A program whose `bench` takes these seconds, in turn."""
    path, turn = tmp_path / name, tmp_path / (name + ".turn")
    turn.write_text("0")
    path.write_text(f"""#!{sys.executable}
import json, pathlib
turn = pathlib.Path({str(turn)!r})
n = int(turn.read_text())
turn.write_text(str(n + 1))
seconds = {list(seconds)}
row = dict(kind="decode", batch=1, tokens=1, depth=0, seconds=[seconds[n % len(seconds)]])
print(json.dumps(dict(model="played", rows=[row])))
""")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("base, change, verdict, status", [
    ([1.0], [1.3], "TOO SLOW", 1),
    ([1.0], [1.1], "slower", 0),
    ([1.0], [1.0], "same", 0),
    ([1.0], [0.9], "faster", 0),
    ([1.0, 1.5], [1.3], "same", 0),  # base and base again are further apart than that
    ([1.0, 1.1], [2.0], "TOO SLOW", 1),
])
def test_verdict(tmp_path, base, change, verdict, status):
    done = subprocess.run([REGRESS, "--rounds", "3", "--base-binary", program(tmp_path, "base", *base),
                           "--binary", program(tmp_path, "change", *change)], text=True, capture_output=True,
                          check=False)
    assert done.returncode == status, done
    lines = done.stdout.splitlines()[1:]
    assert len(lines) == 1 and lines[0].endswith(verdict), done.stdout
    assert lines[0].startswith("played decode 1 × 1 at 0 ")


def test_the_real_program_against_itself():
    done = subprocess.run([REGRESS, "--rounds", "1", "--bound", "100", "--base-binary", BINARY, "--binary", BINARY,
                           "--", "--prefill", "8,9", "--batch", "2"], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done
    names = sorted(line.split("   ")[0].strip() for line in done.stdout.splitlines()[1:])
    assert names == ["latentd-demo decode 2 × 1 at 0", "latentd-demo prefill 1 × 8 at 0",
                     "latentd-demo prefill 1 × 9 at 0"]


def test_programs_that_fail(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    done = subprocess.run([REGRESS, "--base-binary", broken, "--binary", BINARY], text=True, capture_output=True,
                          check=False)
    assert done.returncode == 1 and "exit status 3" in done.stderr, done
