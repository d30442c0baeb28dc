"""scripts/gpu-bundle: all that the two commands need is in it."""
import os
import shutil
import subprocess
import tarfile

import pytest

from conftest import ROOT

PROGRAMS = ["latentd", "bench/gpu/latentd_gpu_bench", "tests/kernels/cuda/cuda_one_device_test"]


@pytest.fixture
def build(tmp_path):
    """A build folder whose programs are machine code, as strip wants it, that fails."""
    for name in PROGRAMS:
        path = tmp_path / "build" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/false", path)
    return tmp_path / "build"


def bundle(build, *arguments):
    return subprocess.run([ROOT / "scripts/gpu-bundle", *arguments], text=True, capture_output=True, check=False,
                          env={**os.environ, "LATENTD_CUDA_BUILD": str(build)})


def test_it_runs_where_it_is_unpacked(build, tmp_path):
    done = bundle(build, tmp_path / "bundle")
    assert done.returncode == 0, done
    with tarfile.open(tmp_path / "bundle.tar.gz") as archive:
        archive.extractall(tmp_path / "there")
    there = tmp_path / "there/bundle"
    assert sorted(path.name for path in (there / "bin").iterdir()) == [
        "REVISION", "cuda_one_device_test", "latentd", "latentd_gpu_bench"]
    assert (there / "models/demo/model.safetensors").stat().st_size > 1 << 20
    assert (there / "models/demo/held-out.txt").exists() and (there / "bench/gpu/layer.json").exists()
    assert not [path for end in ("cc", "h", "cu") for path in there.rglob(f"*.{end}")] and not list(there.rglob("peers"))
    for command in ("scripts/gpu-check", "bench/gpu/run"):
        ran = subprocess.run([there / command], text=True, capture_output=True, check=False, cwd="/")
        # The bundle's own programs answer.
        assert ran.returncode == 1 and ran.stdout.endswith("latentd_gpu_bench --describe: exit status 1\n"), ran


def test_peers_are_carried_where_there_is_room(build, tmp_path):
    peers = build / "bench/gpu/peers"
    peers.mkdir()
    shutil.copy("/bin/false", peers / "latentd_gpu_peer_flashmla")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(65 << 20)
    subprocess.run(["objcopy", f"--add-section=large={tmp_path / 'large'}", "/bin/false",
                    peers / "latentd_gpu_peer_flashinfer"], check=True)
    done = bundle(build, tmp_path / "bundle")
    assert done.returncode == 0 and "no room for latentd_gpu_peer_flashinfer" in done.stderr, done
    assert sorted(path.name for path in (tmp_path / "bundle/bin").glob("*peer*")) == ["latentd_gpu_peer_flashmla"]


@pytest.mark.parametrize("noted, carried", [("v1-2-g0123456\n", "v1-2-g0123456\n"), (None, "unknown\n")])
def test_the_revision_is_the_one_of_the_programs(build, tmp_path, noted, carried):
    if noted:
        (build / "REVISION").write_text(noted)
    assert bundle(build, tmp_path / "bundle").returncode == 0
    assert (tmp_path / "bundle/bin/REVISION").read_text() == carried


def test_usage(build, tmp_path):
    done = bundle(build, "--help")
    assert done.returncode == 0 and "LATENTD_CUDA_BUILD" in done.stdout and not done.stderr, done
    for wrong in ([tmp_path / "bundle", "more"], ["--no-such-option"], [""]):
        done = bundle(build, *wrong)
        assert done.returncode == 2 and done.stderr.startswith("usage: scripts/gpu-bundle [FOLDER]\n"), done
    assert not (tmp_path / "bundle").exists()


def test_only_a_bundle_is_replaced(build, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kept").write_text("kept")
    (tmp_path / "mine.tar.gz").write_text("kept")
    done = bundle(build, mine)
    assert done.returncode == 1 and done.stderr == f"gpu-bundle: {mine} is there and no bundle: it is left as it is\n", done
    assert (mine / "kept").read_text() == (tmp_path / "mine.tar.gz").read_text() == "kept"
    (mine / "kept").unlink()
    assert bundle(build, f"{mine}/").returncode == 0  # an empty folder
    (mine / "bin/older").write_text("")
    assert bundle(build, mine).returncode == 0 and not (mine / "bin/older").exists()
    assert tarfile.is_tarfile(tmp_path / "mine.tar.gz")


@pytest.mark.parametrize("missing", PROGRAMS[:2])
def test_a_missing_program_is_named(build, tmp_path, missing):
    (build / missing).unlink()
    done = bundle(build, tmp_path / "bundle")
    assert done.returncode == 1 and f"{missing} is not built" in done.stderr, done
