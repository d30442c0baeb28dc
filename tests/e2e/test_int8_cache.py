"""--cache-format int8: the same doors, other bits, less memory, and little lost."""
import json
import re
import urllib.request

import pytest

from conftest import DEMO, Rpc
from stored_formats import HELD_OUT, answer, latentd, score


def latents(running):
    """Bytes of the cache per token, as GetModel says, and the cache's dtype, as the metrics do."""
    calls = Rpc(running)
    model = calls.call("GetModel", calls.message("GetModelRequest", model=running.model))
    with urllib.request.urlopen(f"{running.url}/metrics", timeout=30) as answer:
        dtype = re.search(r'cache_dtype="(\w+)"', answer.read().decode())[1]
    return model.cache_bytes_per_token, dtype


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8-cache") / "held-out.txt"
    path.write_text(HELD_OUT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def layout():
    report = json.loads(latentd("inspect", DEMO, "--json").stdout)
    return report["cache"]["bytes_per_token"], report["cache_int8"]["bytes_per_token"]


def test_the_server_says_what_it_runs(server, start, layout):
    int8 = start("--cache-format", "int8")
    text, digest, backend = answer(int8)
    _, bf16_digest, bf16_backend = answer(server)
    assert len(text.split()) > 3 and answer(int8) == (text, digest, backend)
    assert backend == bf16_backend + " int8-cache" and digest != bf16_digest
    assert latents(server) == (layout[0], "bfloat16")
    assert latents(int8) == (layout[1], "int8")
    # Six layers of 64 lanes, 16 of kR in bf16 and four alphas; int8 has a scale besides.
    assert layout == (6 * (2 * 64 + 32 + 16), 6 * (64 + 32 + 16 + 4))


def test_it_costs_less_than_the_next_narrower_width(text):
    bf16, bf16_hash = score(text)
    int8, int8_hash = score(text, "--cache-format", "int8")
    narrower, _ = score(text, "--width", "96,48")
    assert bf16 != int8 and bf16_hash != int8_hash
    assert abs(int8 - bf16) < narrower - bf16


def test_bits_do_not_depend_on_threads_or_steps(text):
    whole = score(text, "--cache-format", "int8", "--threads", 1)
    assert score(text, "--cache-format", "int8", "--threads", 2, "--max-num-seqs", 8,
                 "--max-num-batched-tokens", 77) == whole


def test_relaxed_reads_it_too(text):
    strict, strict_hash = score(text, "--cache-format", "int8")
    relaxed, relaxed_hash = score(text, "--cache-format", "int8", "--determinism", "relaxed")
    narrower, _ = score(text, "--cache-format", "int8", "--width", "96,48")
    assert relaxed_hash != strict_hash and abs(relaxed - strict) < narrower - strict


def test_generate_and_bench(layout):
    int8 = ("--cache-format", "int8")
    assert latentd("generate", *int8, "-p", "It was a", "--temperature", "0").stdout.strip()
    args = ("bench", "--prefill", "8", "--depth", "960", "--repeat", "1", "--json",
            "--synthetic-cache")
    narrow, wide = (json.loads(latentd(*args, *format).stdout) for format in (int8, ()))
    assert narrow["build"].endswith(", int8 cache") and "int8" not in wide["build"]
    for a, b in zip(narrow["rows"], wide["rows"]):
        # A step reads the whole context once.
        assert b["bytes"] - a["bytes"] >= 960 * (layout[0] - layout[1]) and a["flops"] == b["flops"]


def test_another_word_is_refused():
    for command in (("generate", "-p", "x"), ("score", "x"), ("bench",), ("serve",)):
        done = latentd(*command, "--cache-format", "fp8", status=2)
        assert "--cache-format is one of bf16, int8, not 'fp8'" in done.stderr
