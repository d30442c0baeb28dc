"""A slice of the determinism matrix end to end: a request over either door, among neighbours over both, under other
settings of the server, has the same bits. The matrix itself is tests/determinism, below the doors."""
import concurrent.futures
import os
import random
import struct

import pytest

from conftest import Rpc

WORDS = "night house king letter water sea lady hacker package garden stone river light".split()
SEED = int(os.environ.get("LATENTD_DETERMINISM_SEED", random.SystemRandom().randrange(2**32)))


def prompts():
    rng = random.Random(SEED)
    return [" ".join(rng.choices(WORDS, k=k)) for k in (1, 3, 9, 20, 41, 64, 90, 150)]


def bits(values):
    """As fp32; JSON has their shortest decimals."""
    return [struct.pack("f", x).hex() for x in values]


def over_http(server, prompt):
    reply = server.openai().completions.create(
        model=server.model, prompt=prompt, max_tokens=6, echo=True, logprobs=1, temperature=0,
        extra_body={"ignore_eos": True})
    return bits(reply.choices[0].logprobs.token_logprobs[1:])


def over_grpc(server, prompt):
    rpc = Rpc(server)
    messages = list(rpc.call("Generate", rpc.message(
        "GenerateRequest", text=prompt,
        logprobs=rpc.message("LogprobOptions", top=1, prompt_top=1),
        sampling=rpc.message("Sampling", temperature=0.0),
        stop=rpc.message("Stop", max_tokens=6, ignore_eos=True))))
    prompt_part = [t.logprob for m in messages for t in m.prompt_logprobs][1:]
    return bits(prompt_part + [t.logprob for m in messages for t in m.logprobs])


def first_difference(expected, got):
    """The first position that differs, or None."""
    if len(expected) != len(got):
        return f"{len(got)} log-probabilities, not {len(expected)}"
    return next((f"position {i + 1}: {b}, alone {a}" for i, (a, b) in enumerate(zip(expected, got))
                 if a != b), None)


@pytest.fixture(scope="module")
def solo(server):
    print(f"LATENTD_DETERMINISM_SEED={SEED}")
    return [over_grpc(server, prompt) for prompt in prompts()]


@pytest.mark.parametrize("workers,args", [
    (1, ()), (8, ("--threads", 2)), (8, ("--max-num-seqs", 3, "--max-num-batched-tokens", 67)),
    (16, ("--step-ms", 1, "--threads", 1)), (16, ("--cache-tokens", 1024)),
])
def test_both_doors_give_the_bits_of_a_solo_run(start, solo, workers, args):
    server = start(*args)
    work = [(door, i) for i in range(len(solo)) for door in (over_http, over_grpc)]
    random.Random(SEED).shuffle(work)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        got = list(pool.map(lambda one: one[0](server, prompts()[one[1]]), work))
    for (door, i), values in zip(work, got):
        difference = first_difference(solo[i], values)
        assert difference is None, f"seed {SEED}, prompt {i} {door.__name__}: {difference}"
