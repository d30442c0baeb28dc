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


def bundle(build, to):
    return subprocess.run([ROOT / "scripts/gpu-bundle", to], text=True, capture_output=True, check=False,
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


@pytest.mark.parametrize("missing", PROGRAMS[:2])
def test_a_missing_program_is_named(build, tmp_path, missing):
    (build / missing).unlink()
    done = bundle(build, tmp_path / "bundle")
    assert done.returncode == 1 and f"{missing} is not built" in done.stderr, done
