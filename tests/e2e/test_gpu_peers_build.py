"""bench/gpu/peers/build: which sources it takes, and what it says of those that are not there. Nothing is compiled."""
import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys
import zipfile

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench/gpu/peers"))
import sources  # noqa: E402

HEADER = "flashinfer/data/include/flashinfer/one.cuh"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    path = tmp_path / "one.whl"
    with zipfile.ZipFile(path, "w") as packed:
        for name in (HEADER, "flashinfer/data/cutlass/include/cute.hpp", "flashinfer/data/csrc/large.cu",
                     "flashinfer/__init__.py"):
            packed.writestr(name, f"of {name}")
    monkeypatch.setattr(sources, "WHEEL_SHA256", sources.digest_of_file(path))
    return path


def test_a_wheel_is_unpacked_once(wheel, tmp_path):
    folder, name = sources.flashinfer(tmp_path / "cache", wheel)
    assert name == sources.FLASHINFER_NAME
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == {"include/flashinfer/one.cuh", "cutlass/include/cute.hpp"}
    kept = folder / "include/flashinfer/one.cuh"
    kept.write_text("touched")
    assert sources.flashinfer(tmp_path / "cache")[0] == folder and kept.read_text() == "touched"


def test_an_unpacking_that_was_cut_off_is_done_again(wheel, tmp_path):
    folder, _ = sources.flashinfer(tmp_path / "cache", wheel)
    (folder.parents[1] / "complete").unlink()
    (folder / "include/flashinfer/one.cuh").unlink()
    sources.flashinfer(tmp_path / "cache", wheel)
    assert (folder / "include/flashinfer/one.cuh").exists()


def test_another_wheel_is_not_unpacked(wheel, tmp_path):
    with zipfile.ZipFile(wheel, "a") as packed:
        packed.writestr("flashinfer/data/include/more.cuh", "more")
    with pytest.raises(sources.Missing, match="has the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        sources.flashinfer(tmp_path / "cache", wheel)
    assert not (tmp_path / "cache").exists()


def test_another_wheel_is_refused_beside_sources_that_are_there(wheel, tmp_path):
    sources.flashinfer(tmp_path / "cache", wheel)
    wheel.write_bytes(b"another")
    with pytest.raises(sources.Missing, match="has the SHA-256"):
        sources.flashinfer(tmp_path / "cache", wheel)


@pytest.fixture
def checkout(tmp_path):
    for name in sources.FLASHMLA_FILES:
        path = tmp_path / "flashmla" / name / ("" if name.endswith(".h") else "a.cuh")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"of {name}")
    return tmp_path / "flashmla"


def test_flashmla_is_named_by_its_digest(checkout, monkeypatch):
    name = sources.flashmla(checkout)[1]
    assert "other sources, SHA-256 " in name and sources.FLASHMLA_COMMIT not in name
    monkeypatch.setattr(sources, "FLASHMLA_SHA256", sources.digest_of_sources(checkout))
    assert f"commit {sources.FLASHMLA_COMMIT}" in sources.flashmla(checkout)[1]
    (checkout / "README.md").write_text("not compiled, and so not counted")
    assert f"commit {sources.FLASHMLA_COMMIT}" in sources.flashmla(checkout)[1]
    (checkout / "csrc/smxx/decode/combine/a.cuh").write_text("changed")
    assert "other sources" in sources.flashmla(checkout)[1]


def test_a_part_of_flashmla_that_is_not_there_is_named(checkout):
    (checkout / "csrc/params.h").unlink()
    with pytest.raises(sources.Missing, match="holds no csrc/params.h"):
        sources.flashmla(checkout)


def build(*arguments):
    return subprocess.run([ROOT / "bench/gpu/peers/build", *map(str, arguments)], text=True, capture_output=True,
                          check=False, cwd="/")


def test_what_is_not_there_is_said_in_a_sentence_each(tmp_path, checkout):
    other = tmp_path / "other.whl"
    other.write_bytes(b"no wheel")
    done = build("--flashinfer-wheel", other, "--flashmla-source", tmp_path / "nowhere")
    assert done.returncode == 1, done
    said = done.stdout.splitlines()
    assert said[-2].startswith(f"FlashInfer is not built: {other} has the SHA-256 ") and said[-1] == (
        f"FlashMLA is not built: {tmp_path}/nowhere is no folder; --flashmla-source names one with a checkout of FlashMLA.")
    done = build("--flashinfer-wheel", other, "--flashmla-source", checkout)
    assert done.stdout.splitlines()[-1] == (
        "FlashMLA is not built: its CUTLASS comes with FlashInfer's wheel, which is not there.")
    assert "+ " not in done.stdout  # nothing was compiled


def test_the_pinned_version_is_the_one_that_the_documentation_names():
    version = sources.WHEEL.split("-")[1]
    for page in ("docs/dependencies.md", "docs/cuda.md"):
        text = pathlib.Path(ROOT, page).read_text()
        assert f"FlashInfer {version}" in text and f"FlashMLA {sources.FLASHMLA_COMMIT}" in text, page


def test_no_revision_is_said_of_a_folder_with_new_peers(tmp_path, monkeypatch):
    loader = importlib.machinery.SourceFileLoader("peers_build", str(ROOT / "bench/gpu/peers/build"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("peers_build", loader))
    loader.exec_module(script)
    monkeypatch.setattr(script, "BUILD", tmp_path)
    monkeypatch.setattr(script, "run", lambda *command: True)
    (tmp_path / "REVISION").write_text("v1-2-g0123456")
    script.compile_peers({}, {}, 1)
    assert not (tmp_path / "REVISION").exists()
