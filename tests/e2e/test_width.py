"""Elastic width at both doors: the demo model lists q 16…96 and kv 8…64."""
import concurrent.futures
import subprocess
import urllib.request

import grpc
import pytest

from conftest import BINARY, ROOT, Rpc

WIDTHS = [None, (96, 64), (64, 48), (48, 64), (16, 8)]
PROMPT = "It was a dark night and the king of the"


def width_of(rpc, pair):
    return None if pair is None else rpc.message("Width", q=pair[0], kv=pair[1])


def hash_of(rpc, pair):
    request = rpc.message("GenerateRequest", text=PROMPT, logits_hash=True, width=width_of(rpc, pair),
                          sampling=rpc.message("Sampling", seed=3),
                          stop=rpc.message("Stop", max_tokens=40, ignore_eos=True))
    messages = list(rpc.call("Generate", request))
    used = messages[0].width
    assert (used.q, used.kv) == (pair or (96, 64))
    return messages[-1].logits_hash


def test_mixed_widths_leave_each_other_alone(server, rpc):
    solo = {pair: hash_of(rpc, pair) for pair in WIDTHS}
    assert solo[None] == solo[96, 64] and len(set(solo.values())) == len(WIDTHS) - 1
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        together = list(pool.map(lambda pair: (pair, hash_of(rpc, pair)), WIDTHS * 4))
    assert all(solo[pair] == value for pair, value in together)


def test_http_names_the_width_used(server):
    body = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    texts = {}
    for asked, used in [(None, (96, 64)), ({"q": 48}, (48, 64)), ({"kv": 16}, (96, 16)),
                        ({"q": 16, "kv": 8}, (16, 8)), ({}, (96, 64))]:
        status, reply, _ = server.post("/v1/completions",
                                       {**body, **({} if asked is None else {"width": asked})})
        assert status == 200 and reply["width"] == {"q": used[0], "kv": used[1]}, reply
        texts[used] = reply["choices"][0]["text"]
    assert texts[96, 64] != texts[16, 8]


def test_a_width_that_is_not_listed_is_refused_alike(server, rpc):
    message = "width.kv must be one of 8, 16, 32, 48, 64, got 24"
    status, reply, _ = server.post("/v1/completions", {"prompt": "a", "width": {"kv": 24}})
    assert status == 400 and reply["error"]["message"] == message
    assert reply["error"]["param"] == "width.kv"
    for method in ("Generate", "Score"):
        request = rpc.message(method + "Request", text="a", width=rpc.message("Width", kv=24))
        with pytest.raises(grpc.RpcError) as error:
            list(rpc.call(method, request))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.value.details() == message
    result = subprocess.run([BINARY, "generate", "-p", "a", "--width", "96,24"], capture_output=True,
                            text=True)
    assert result.returncode == 1 and result.stderr == f"latentd: {message}\n"


def test_generate_and_score_take_a_width(server, tmp_path):
    text = tmp_path / "text"
    text.write_text(PROMPT)
    outputs = []
    for width in ("96,64", "16,8"):
        status, reply, _ = server.post(
            "/v1/completions", {"prompt": PROMPT, "max_tokens": 12, "temperature": 0,
                                "width": dict(zip(("q", "kv"), map(int, width.split(","))))})
        assert status == 200
        said = subprocess.run([BINARY, "generate", "-p", PROMPT, "--max-tokens", "12", "--temperature",
                               "0", "--width", width], capture_output=True, text=True, check=True)
        assert said.stdout == reply["choices"][0]["text"]
        scored = subprocess.run([BINARY, "score", str(text), "--width", width], capture_output=True,
                                text=True, check=True)
        outputs.append((said.stdout, scored.stdout))
    assert outputs[0][0] != outputs[1][0] and outputs[0][1] != outputs[1][1]


def test_the_pressure_policy_narrows_what_comes_last(start):
    """Ten blocks, and twelve requests that hold one each: the last ones are admitted at 80 % and more."""
    running = start("--elastic-policy", "pressure", "--cache-tokens", 640, "--max-num-seqs", 16)
    calls = Rpc(running)

    def generate(width=None):
        request = calls.message("GenerateRequest", text=PROMPT, logits_hash=True, width=width, echo=True,
                                sampling=calls.message("Sampling", seed=3),
                                stop=calls.message("Stop", max_tokens=40, ignore_eos=True))
        messages = list(calls.call("Generate", request))
        used = messages[0].width
        return (used.q, used.kv), messages[-1].logits_hash

    assert generate()[0] == (96, 64)
    ladder = {(96, 64), (64, 48), (48, 32), (32, 16)}
    solo = {pair: generate(width_of(calls, pair))[1] for pair in ladder}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: generate(), range(60)))
    assert all(pair in ladder and solo[pair] == value for pair, value in answers)
    assert len({pair for pair, _ in answers}) > 1


def test_row_lengths_share_a_small_pool(start):
    """Two pages for rows of 256, 192, 128 and 64 lanes: pages change hands, sequences are preempted."""
    running = start("--model", ROOT / "tests/golden/tiny-elastic-blockwise", "--cache-tokens", 2048)
    calls = Rpc(running)
    widths = [(256, 256), (241, 37), (37, 190), (100, 100)]
    # Nothing in common, so that nothing is shared: six of one width grow beyond what both pages hold.
    prompts = [[2 + (i * 67 + j) % 500 for j in range(200)] for i in range(6)]

    def generate(case):
        pair, ids = case
        request = calls.message("GenerateRequest", token_ids=calls.message("TokenIds", ids=ids),
                                width=width_of(calls, pair), logits_hash=True,
                                sampling=calls.message("Sampling", seed=3),
                                stop=calls.message("Stop", max_tokens=150, ignore_eos=True))
        messages = list(calls.call("Generate", request))
        assert (messages[0].width.q, messages[0].width.kv) == pair
        return messages[-1].logits_hash

    cases = [(pair, ids) for pair in widths for ids in prompts]
    solo = [generate(case) for case in cases]
    # How many meet depends on the machine: rounds, until there was a preemption.
    for _ in range(10):
        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            assert list(pool.map(generate, cases)) == solo
        stats = calls.call("GetCacheStats", calls.message("GetCacheStatsRequest", admin=True), admin=True)
        assert stats.tokens_in_use == 0 and stats.pages_total == 2
        if stats.preemptions > 0:
            break
    assert stats.preemptions > 0
    with urllib.request.urlopen(running.url + "/metrics") as reply:
        metrics = reply.read().decode()
    for lanes in (64, 128, 192, 256):
        assert f'width="{lanes}"' in metrics


def test_model_info_lists_the_ranks(rpc):
    elastic = rpc.call("GetModel", rpc.message("GetModelRequest")).elastic
    assert list(elastic.q_ranks) == [16, 32, 48, 64, 96]
    assert list(elastic.kv_ranks) == [8, 16, 32, 48, 64] and not elastic.continuous
