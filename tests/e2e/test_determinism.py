"""The same request gives the same bytes whatever else the server does."""
import concurrent.futures
import threading

import pytest

from conftest import Rpc

PROMPTS = [f"It was {word} and the {noun} of the"
           for word in ("a dark night", "in the beginning", "said by them", "late")
           for noun in ("house", "king", "hacker", "package", "lady", "sea", "letter", "water")]


def hashes(server, prompts, workers, max_tokens=40, **sampling):
    """Logits hash and token ids of every prompt, `workers` at a time."""
    rpc = Rpc(server)

    def one(prompt):
        request = rpc.message(
            "GenerateRequest", text=prompt, logits_hash=True,
            sampling=rpc.message("Sampling", seed=5, **sampling),
            stop=rpc.message("Stop", max_tokens=max_tokens, ignore_eos=True))
        messages = list(rpc.call("Generate", request))
        ids = tuple(i for m in messages for i in m.token_ids)
        assert len(ids) == max_tokens
        return messages[-1].logits_hash, ids

    one(prompts[0])  # learns the types before threads share them
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, prompts))


@pytest.fixture(scope="module")
def solo(server):
    return hashes(server, PROMPTS, 1)


@pytest.mark.sanitizer
def test_thirty_two_streams_equal_their_solo_runs(server, solo):
    assert len(PROMPTS) == 32
    assert hashes(server, PROMPTS, 32) == solo


@pytest.mark.parametrize("args", [
    ("--threads", 1), ("--threads", 2), ("--max-num-seqs", 1, "--max-num-batched-tokens", 65),
    ("--max-num-seqs", 7), ("--step-ms", 1),
])
def test_settings_change_nothing(start, solo, args):
    assert hashes(start(*args), PROMPTS, 32) == solo


def test_preemption_changes_nothing(start, server):
    """Eight blocks for twelve sequences that grow to four each."""
    prompts = PROMPTS[:12]
    expected = hashes(server, prompts, 1, max_tokens=200)
    server = start("--cache-tokens", 512)
    rpc = Rpc(server)
    assert hashes(server, prompts, 12, max_tokens=200) == expected
    stats = rpc.call("GetCacheStats", rpc.message("GetCacheStatsRequest", admin=True), admin=True)
    assert stats.preemptions > 0 and stats.tokens_in_use == 0


@pytest.mark.sanitizer
def test_half_cut_off_mid_stream(server, rpc, solo):
    """Sixteen of 32 streams leave after a few tokens; the others are untouched and nothing leaks."""
    idle = rpc.call("GetCacheStats", rpc.message("GetCacheStatsRequest", admin=True), admin=True)

    def cut(prompt):
        call = rpc.call("Generate", rpc.message("GenerateRequest", text=prompt,
                                                stop=rpc.message("Stop", max_tokens=800,
                                                                 ignore_eos=True)))
        for _ in range(3):
            next(call)
        call.cancel()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        cuts = [pool.submit(cut, p) for p in PROMPTS[16:]]
        assert hashes(server, PROMPTS[:16], 16) == solo[:16]
        for one in cuts:
            one.result()
    tick = threading.Event()
    for _ in range(600):
        now = rpc.call("GetCacheStats", rpc.message("GetCacheStatsRequest", admin=True), admin=True)
        if now.tokens_in_use == idle.tokens_in_use:
            return
        tick.wait(0.05)
    raise AssertionError("cache use did not return to its idle value")
