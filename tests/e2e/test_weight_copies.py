"""--weights int8 and int4: the same doors, other bits, and little lost."""
import json

import pytest

from conftest import DEMO
from stored_formats import HELD_OUT, answer, latentd, score

FORMATS = ["int8", "int4"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("copies") / "held-out.txt"
    path.write_text(HELD_OUT, encoding="utf-8")
    return path


@pytest.mark.parametrize("weights", FORMATS)
def test_the_server_says_what_it_runs(server, start, weights):
    copies = start("--weights", weights)
    text, digest, backend = answer(copies)
    _, stored_digest, stored_backend = answer(server)
    assert len(text.split()) > 3 and answer(copies) == (text, digest, backend)
    assert backend == f"{stored_backend} {weights}-weights" and digest != stored_digest
    assert any(f"served as {weights} copies" in line for line in copies.log)
    assert not any(" copies of " in line for line in server.log)


def test_what_the_copies_cost(text):
    """int8 less than int4, and that less than the second narrower width."""
    scores = {weights: score(text, "--weights", weights) for weights in ["as-stored", *FORMATS]}
    assert len({digest for _, digest in scores.values()}) == 3
    stored, int8, int4 = (scores[weights][0] for weights in ["as-stored", *FORMATS])
    narrower, narrowest = (score(text, "--width", width)[0] for width in ["96,48", "64,48"])
    assert 0 < abs(int8 - stored) < narrower - stored
    assert abs(int8 - stored) < int4 - stored < narrowest - stored


@pytest.mark.parametrize("weights", FORMATS)
def test_bits_do_not_depend_on_threads_or_steps(text, weights):
    whole = score(text, "--weights", weights, "--threads", 1)
    assert score(text, "--weights", weights, "--threads", 2, "--max-num-seqs", 8,
                 "--max-num-batched-tokens", 77) == whole


@pytest.mark.parametrize("weights, least, most", [("int8", 0.5, 0.6), ("int4", 0.28, 0.55)])
def test_generate_and_bench(weights, least, most):
    assert latentd("generate", "--weights", weights, "-p", "It was a", "--temperature", "0").stdout.strip()
    args = ("bench", "--prefill", "8", "--repeat", "1", "--json")
    copies = json.loads(latentd(*args, "--weights", weights).stdout)
    stored = json.loads(latentd(*args).stdout)
    assert copies["build"].endswith(f", {weights} weights") and "weights" not in stored["build"]
    for narrow, wide in zip(copies["rows"], stored["rows"]):
        assert least < narrow["bytes"] / wide["bytes"] < most and narrow["flops"] == wide["flops"]
    random = json.loads(latentd(*args, "--weights", weights, "--random-weights", DEMO / "config.json").stdout)
    assert [row["bytes"] for row in random["rows"]] == [row["bytes"] for row in copies["rows"]]


def test_another_word_is_refused():
    done = latentd("generate", "--weights", "int3", "-p", "x", status=2)
    assert "--weights is one of as-stored, int8, int4, not 'int3'" in done.stderr
