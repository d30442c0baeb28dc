"""The program that is carried to machines with nothing but glibc: build/cuda's latentd, else build/offline's."""
import subprocess

import pytest

from conftest import BINARY, DEMO, ROOT

PROGRAMS = [ROOT / "build/cuda/latentd", ROOT / "build/offline/latentd"]
GLIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2"}
MOST_BYTES = 20 << 20


@pytest.fixture(scope="module")
def carried():
    built = [path for path in PROGRAMS if path.exists()]
    assert built, "run scripts/build offline"
    return built[0]


def run(program, *arguments):
    return subprocess.run([program, *map(str, arguments)], text=True, capture_output=True, check=False)


def test_it_needs_glibc_alone_and_is_small(carried):
    lines = subprocess.run(["readelf", "-d", carried], text=True, capture_output=True, check=True).stdout.splitlines()
    needed = {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}
    assert needed <= GLIBC, needed - GLIBC
    assert carried.stat().st_size < MOST_BYTES
    sections = subprocess.run(["readelf", "-S", carried], text=True, capture_output=True, check=True).stdout
    assert ".debug_" not in sections and ".symtab" not in sections


@pytest.mark.parametrize("arguments", [
    ("generate", "-p", "It was a", "--temperature", 1, "--seed", 7, "--max-tokens", 40),
    ("score", "--hash", "TEXT"),
    ("inspect",),
])
def test_it_answers_as_the_full_program(carried, arguments, tmp_path):
    (tmp_path / "text").write_text("It is a truth universally acknowledged, that a man must be in want.\n" * 9)
    words = [arguments[0], "--model", DEMO, *(tmp_path / "text" if word == "TEXT" else word for word in arguments[1:])]
    ours, full = run(carried, *words), run(BINARY, *words)
    assert ours.returncode == full.returncode == 0 and ours.stderr == "", ours
    assert len(ours.stdout) > 20 and ours.stdout == full.stdout


def test_it_benches(carried):
    done = run(carried, "bench", "--model", DEMO, "--prefill", 8, "--repeat", 1)
    assert done.returncode == 0 and "decode" in done.stdout, done


def test_serve_is_refused(carried):
    done = run(carried, "serve", "--model", DEMO)
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr == ("latentd: this program was built without its doors (LATENTD_SERVER=OFF); serve with a full "
                           "build\n")
