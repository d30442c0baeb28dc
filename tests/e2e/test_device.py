"""--device cuda: one sentence where it cannot be; over the emulated device, as exact as the goldens ask."""
import concurrent.futures
import pathlib
import subprocess
import sys

import pytest

from conftest import BINARY, DEMO, ROOT, Rpc

sys.path.insert(0, str(ROOT / "tools/golden"))
import compare  # noqa: E402

GOLDEN = ROOT / "tests/golden"
# The same program, its kernels emulated on the CPU: slow, so short contexts and few prompts.
EMULATED = pathlib.Path(BINARY).with_name("latentd_emulated")
ARGUMENTS = ["--device", "cuda", "--max-model-len", "256", "--cache-tokens", "2048",
             "--max-num-seqs", "8", "--max-num-batched-tokens", "128"]
FAMILIES = sorted(path.name.removesuffix(".json.gz") for path in GOLDEN.glob("tiny-*.json.gz")
                  if "elastic" not in path.name)


def last_line(status, *args, binary=BINARY):
    done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"],
                                     ["generate", "-p", "a"], ["score", DEMO / "held-out.txt"]])
def test_a_build_without_kernels_says_so(command):
    assert last_line(1, *command, "--device", "cuda") == (
        "latentd: --device cuda: this build has no CUDA: build with -DLATENTD_CUDA=ON, or use --device cpu")


@pytest.mark.parametrize("flag, value", [("--cache-format", "int8"), ("--cpu-path", "scalar")])
def test_what_only_the_cpu_does_is_refused_with_both_flags(flag, value):
    line = last_line(2, "generate", "-p", "a", "--device", "cuda", flag, value)
    assert flag in line and "--device cuda" in line and "--device cpu" in line


def test_an_unknown_device():
    assert "cpu, cuda" in last_line(2, "generate", "-p", "a", "--device", "tpu")


def test_a_cache_beyond_the_device():
    line = last_line(1, "generate", "-p", "a", "--device", "cuda", "--cache-memory", "100G",
                     binary=EMULATED)
    assert "on the device" in line and "--cache-memory" in line


@pytest.mark.parametrize("flags, says", [
    (["--max-num-batched-tokens", "1048576"],
     "a step of 1048576 tokens and 64 sequences, and its graphs, need "),
    (["--max-model-len", "32", "--max-num-seqs", "1"], "one sequence of 32 tokens asks for one; give --cache-tokens"),
    (["--cache-tokens", "64"], "--cache-tokens is 64"),
    (["--cache-memory", "1K"], "--cache-memory is 1024 bytes"),
    (["--cache-memory", "900T"], "no cache has more than 1048576 MiB; ask for fewer tokens (--cache-tokens) or bytes"),
])
def test_no_room_for_a_cache(flags, says):
    line = last_line(1, "generate", "-p", "a", "--device", "cuda", *flags, binary=EMULATED)
    assert says in line
    assert "--max-num-batched-tokens" not in flags or "--max-num-batched-tokens or --max-num-seqs" in line


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_on_the_emulated_device(start, name):
    server = start("--model", GOLDEN / name, *ARGUMENTS, binary=EMULATED)
    goldens = compare.load(GOLDEN / f"{name}.json.gz")
    few = {**goldens, "prompts": goldens["prompts"][:4]}
    passed, report = compare.compare(compare.HttpClient(server.url), few)
    print(report)
    assert passed, report


@pytest.mark.parametrize("name", ["tiny-deepseek-v3", "tiny-minicpm3", "tiny-youtu"])
def test_relaxed_is_as_exact(start, name):
    server = start("--model", GOLDEN / name, *ARGUMENTS, "--determinism", "relaxed", binary=EMULATED)
    goldens = compare.load(GOLDEN / f"{name}.json.gz")
    passed, report = compare.compare(compare.HttpClient(server.url), {**goldens, "prompts": goldens["prompts"][:4]})
    print(report)
    assert passed, report
    calls = Rpc(server)
    status = calls.call("GetStatus", calls.message("GetStatusRequest", admin=True), admin=True)
    assert status.backend == "cuda emulated relaxed"
    assert calls.call("GetModel", calls.message("GetModelRequest")).determinism == "relaxed"


def long_prompts(goldens):
    """Of which chunks of 128 tokens take the expanded route in relaxed (expanded_plan_test.cc)."""
    return [prompt for prompt in goldens["prompts"] if 128 <= len(prompt["ids"]) <= 150][:3]


def test_long_prompts_by_the_expanded_route_are_as_exact(start):
    server = start("--model", GOLDEN / "tiny-deepseek-v3", *ARGUMENTS[:-1], "256", "--determinism", "relaxed",
                   binary=EMULATED)
    goldens = compare.load(GOLDEN / "tiny-deepseek-v3.json.gz")
    passed, report = compare.compare(compare.HttpClient(server.url), {**goldens, "prompts": long_prompts(goldens)})
    print(report)
    assert passed, report


@pytest.mark.parametrize("name, setting", [("tiny-elastic-blockwise", "strict"), ("tiny-elastic-unified", "strict"),
                                           ("tiny-elastic-blockwise", "relaxed")])
def test_widths_on_the_emulated_device(start, name, setting):
    server = start("--model", GOLDEN / name, *ARGUMENTS, "--determinism", setting, binary=EMULATED)
    for goldens in compare.load(GOLDEN / f"{name}.json.gz")[:3]:
        client = compare.HttpClient(server.url)
        complete = client._complete
        client._complete = lambda **body: complete(width=goldens["width"], **body)
        prompts = long_prompts(goldens) if setting == "relaxed" else goldens["prompts"][:3]
        few = {**goldens, "prompts": [{**p, "greedy": []} for p in prompts]}
        measured, worst = compare.compare_logprobs(client, few)
        assert measured[0] <= goldens["bf16_next_token"]["mean"], (goldens["width"], worst)


# Where the logits are hashed they come to the host, which draws; else the device does.
def test_tokens_drawn_on_the_device_are_the_hosts_and_no_neighbour_changes_them(start):
    server = start("--model", GOLDEN / "tiny-deepseek-v3", *ARGUMENTS, binary=EMULATED)
    calls = Rpc(server)
    asked = [dict(temperature=1), dict(temperature=0.7, top_k=40, min_p=0.01, n=2),
             dict(temperature=1.5, top_p=0.8, frequency_penalty=0.5, repetition_penalty=1.2),
             dict(temperature=0, presence_penalty=1.5, logit_bias={7: 3.0, 9: -100.0})]

    def answer(number, logits_hash=False):
        request = calls.message(
            "GenerateRequest", token_ids=calls.message("TokenIds", ids=range(number, number + 30)),
            logits_hash=logits_hash, sampling=calls.message("Sampling", seed=number, **asked[number]),
            logprobs=calls.message("LogprobOptions", top=3),
            stop=calls.message("Stop", max_tokens=8, min_tokens=4, token_ids=range(100, 120)))
        choices = {}
        for m in calls.call("Generate", request, timeout=120):
            choices.setdefault(m.choice, []).extend(
                (t.token_id, t.logprob, t.rank, [(a.token_id, a.logprob) for a in t.top]) for t in m.logprobs)
        return choices

    alone = [answer(number) for number in range(4)]
    assert [len(choices) for choices in alone] == [1, 2, 1, 1]
    assert all(len(tokens) >= 4 for choices in alone for tokens in choices.values())
    assert [answer(number, logits_hash=True) for number in range(4)] == alone
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(answer, range(4))) == alone


def test_the_backend_is_named_and_neighbours_change_no_bit(start):
    server = start("--model", GOLDEN / "tiny-deepseek-v3", *ARGUMENTS, binary=EMULATED)
    calls = Rpc(server)
    status = calls.call("GetStatus", calls.message("GetStatusRequest", admin=True), admin=True)
    assert status.backend == "cuda emulated"

    def answer(first):
        request = calls.message(
            "GenerateRequest", token_ids=calls.message("TokenIds", ids=range(first, first + 40)),
            logits_hash=True, sampling=calls.message("Sampling", temperature=0),
            stop=calls.message("Stop", max_tokens=6, ignore_eos=True))
        messages = list(calls.call("Generate", request, timeout=120))
        return [i for m in messages for i in m.token_ids], messages[-1].logits_hash

    alone = [answer(first) for first in (10, 20, 30)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert list(pool.map(answer, (10, 20, 30))) == alone
