"""--weights int8: the same doors, other bits, and little lost."""
import json
import re
import subprocess

import pytest

from conftest import BINARY, DEMO, Rpc

HELD_OUT = (DEMO / "held-out.txt").read_text(encoding="utf-8")[:20000]


def latentd(*args, status=0):
    done = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def score(text, *args):
    out = latentd("score", *args, "--hash", text).stdout
    return (float(re.search(r"^perplexity (\S+)$", out, re.MULTILINE)[1]),
            re.search(r"^logits hash (\w+)$", out, re.MULTILINE)[1])


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "held-out.txt"
    path.write_text(HELD_OUT, encoding="utf-8")
    return path


def test_the_server_says_what_it_runs(server, start):
    int8 = start("--weights", "int8")

    def answer(running):
        calls = Rpc(running)
        request = calls.message("GenerateRequest", text="It was a", logits_hash=True,
                                sampling=calls.message("Sampling", temperature=0),
                                stop=calls.message("Stop", max_tokens=24))
        messages = list(calls.call("Generate", request, timeout=60))
        status = calls.call("GetStatus", calls.message("GetStatusRequest", admin=True), admin=True)
        return "".join(m.text for m in messages), messages[-1].logits_hash, status.backend

    text, digest, backend = answer(int8)
    _, stored_digest, stored_backend = answer(server)
    assert len(text.split()) > 3 and answer(int8) == (text, digest, backend)
    assert backend == stored_backend + " int8-weights" and digest != stored_digest
    assert any("served as int8 copies" in line for line in int8.log)
    assert not any("int8" in line for line in server.log)


def test_int8_costs_less_than_the_next_narrower_width(text):
    stored, stored_hash = score(text)
    int8, int8_hash = score(text, "--weights", "int8")
    narrower, _ = score(text, "--width", "96,48")
    assert stored != int8 and stored_hash != int8_hash
    assert abs(int8 - stored) < narrower - stored


def test_bits_do_not_depend_on_threads_or_steps(text):
    whole = score(text, "--weights", "int8", "--threads", 1)
    assert score(text, "--weights", "int8", "--threads", 2, "--max-num-seqs", 8,
                 "--max-num-batched-tokens", 77) == whole


def test_generate_and_bench(tmp_path):
    assert latentd("generate", "--weights", "int8", "-p", "It was a", "--temperature", "0").stdout.strip()
    args = ("bench", "--prefill", "8", "--repeat", "1", "--json")
    int8 = json.loads(latentd(*args, "--weights", "int8").stdout)
    stored = json.loads(latentd(*args).stdout)
    assert int8["build"].endswith(", int8 weights") and "int8" not in stored["build"]
    for narrow, wide in zip(int8["rows"], stored["rows"]):
        assert 0.5 < narrow["bytes"] / wide["bytes"] < 0.6 and narrow["flops"] == wide["flops"]
    random = json.loads(latentd(*args, "--weights", "int8", "--random-weights", DEMO / "config.json").stdout)
    assert [row["bytes"] for row in random["rows"]] == [row["bytes"] for row in int8["rows"]]


def test_another_word_is_refused():
    done = latentd("generate", "--weights", "int3", "-p", "x", status=2)
    assert "--weights is one of as-stored, int8, not 'int3'" in done.stderr
