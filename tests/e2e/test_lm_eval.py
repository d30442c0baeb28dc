"""The bodies that lm-eval's local-completions (0.4.13) sends, and what it takes out of the answers."""
import json
import subprocess

import pytest

from conftest import BINARY, DEMO, ROOT


def loglikelihood_body(server, tokens):
    """TemplateAPI._loglikelihood_tokens → LocalCompletionsAPI._create_payload(generate=False)."""
    return {"model": server.model, "prompt": tokens, "temperature": 0, "max_tokens": 1, "logprobs": 1,
            "seed": 1234, "echo": True}


def parse_logprobs(reply, context_lengths):
    """What LocalCompletionsAPI.parse_logprobs computes: (sum over the continuation, whether greedy)."""
    results = []
    for choice, context in zip(sorted(reply["choices"], key=lambda c: c["index"]), context_lengths):
        # The last entry is the one generated token.
        chosen = choice["logprobs"]["token_logprobs"][context:-1]
        tops = choice["logprobs"]["top_logprobs"][context:-1]
        results.append((sum(chosen), all(c == max(t.values()) for c, t in zip(chosen, tops))))
    return results


def ids(server, text, special=False):
    status, reply, _ = server.post("/tokenize", {"prompt": text, "add_special_tokens": special})
    assert status == 200
    return reply["tokens"]


def score(rpc, tokens, first, width=None):
    """Log-likelihood of tokens[first:] by the Score call."""
    request = rpc.message("ScoreRequest", token_ids={"ids": tokens}, width=width)
    logprobs = [entry.logprob for message in rpc.call("Score", request) for entry in message.logprobs]
    assert len(logprobs) == len(tokens) - 1
    return sum(logprobs[first - 1:])


@pytest.fixture
def question(server):
    context = ids(server, "And he said unto them,", special=True)
    ends = [ids(server, end) for end in (" Go ye into the land.", " Hacker the of is.")]
    return [context + end for end in ends], len(context)


def test_loglikelihood_of_token_arrays(server, rpc, question):
    prompts, context = question
    status, reply, _ = server.post("/v1/completions", loglikelihood_body(server, prompts))
    assert status == 200, reply
    for choice, prompt in zip(reply["choices"], prompts):
        assert len(choice["logprobs"]["token_logprobs"]) == len(prompt) + 1
    results = parse_logprobs(reply, [context] * 2)
    for (total, _), prompt in zip(results, prompts):
        assert total == pytest.approx(score(rpc, prompt, context), abs=1e-6)
    assert results[0][0] > results[1][0]


def test_greedy_continuations_are_seen_as_greedy(server):
    context = ids(server, "And the LORD said", special=True)
    body = {"model": server.model, "prompt": [context], "max_tokens": 6, "temperature": 0,
            "stop": ["<|eos|>"], "seed": 1234}
    # return_token_ids is ours to ask for, not lm-eval's.
    status, reply, _ = server.post("/v1/completions", {**body, "return_token_ids": True})
    assert status == 200
    continuation = reply["choices"][0]["token_ids"]
    other = continuation[:-1] + [continuation[-1] ^ 1]
    status, reply, _ = server.post(
        "/v1/completions", loglikelihood_body(server, [context + continuation, context + other]))
    assert status == 200
    assert [greedy for _, greedy in parse_logprobs(reply, [len(context)] * 2)] == [True, False]


def test_an_end_token_counts_as_the_generated_one(server, question):
    """The client drops the last entry: it must be there when generation ends at once."""
    prompts, _ = question
    body = {**loglikelihood_body(server, prompts[:1]), "logit_bias": {"1": 100}}  # <|eos|>
    status, reply, _ = server.post("/v1/completions", body)
    assert status == 200
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert len(reply["choices"][0]["logprobs"]["token_logprobs"]) == len(prompts[0]) + 1


def test_the_longest_window_of_the_client_fits(server):
    """max_length=1024 leaves 1023 for the prompt, with one token to generate."""
    tokens = (ids(server, "It was a fine day. " * 400, special=True))[:1023]
    status, reply, _ = server.post("/v1/completions", loglikelihood_body(server, [tokens]))
    assert status == 200, reply
    assert reply["usage"]["total_tokens"] == 1024


def test_text_prompts_and_generation(server):
    status, reply, _ = server.post(
        "/v1/completions", loglikelihood_body(server, "And he said unto them, Go ye."))
    assert status == 200, reply
    body = {"prompt": [ids(server, "And he said", special=True)], "model": server.model, "max_tokens": 24,
            "temperature": 0, "stop": ["\n\n", "<|eos|>"], "seed": 1234}
    status, reply, _ = server.post("/v1/completions", body)
    assert status == 200 and reply["choices"][0]["text"], reply


def test_a_server_of_narrow_default_width(start, rpc, server, question):
    """local-completions sends no field of ours: --width sets the width of requests that name none."""
    narrow = start("--width", "32,16", "--served-model-name", server.model)
    prompts, context = question
    status, reply, _ = narrow.post("/v1/completions", loglikelihood_body(server, prompts))
    assert status == 200 and reply["width"] == {"q": 32, "kv": 16}
    for (total, _), prompt in zip(parse_logprobs(reply, [context] * 2), prompts):
        assert total == pytest.approx(score(rpc, prompt, context, {"q": 32, "kv": 16}), abs=1e-6)
        assert abs(total - score(rpc, prompt, context)) > 1e-2
    body = {**loglikelihood_body(server, prompts), "width": {"q": 96, "kv": 64}}
    status, reply, _ = narrow.post("/v1/completions", body)
    assert status == 200 and reply["width"] == {"q": 96, "kv": 64}


@pytest.mark.parametrize("width, code, words", [
    ("32", 2, "Q,KV"), ("32,", 2, "Q,KV"), ("32,0", 2, "Q,KV"), ("33,16", 1, "16, 32, 48, 64, 96")])
def test_default_width_that_is_no_width(width, code, words):
    done = subprocess.run([BINARY, "serve", "--width", width, "--http", "127.0.0.1:0", "--grpc",
                           "127.0.0.1:0", "--model", DEMO], capture_output=True, text=True, check=False)
    assert done.returncode == code and done.stdout == ""
    assert "--width" in done.stderr.splitlines()[-1] and words in done.stderr.splitlines()[-1]


def one_swap(one, other):
    a, b = one.split(" "), other.split(" ")
    places = [i for i, (x, y) in enumerate(zip(a, b)) if x != y]
    return len(places) == 2 and places[1] == places[0] + 1


def test_the_task_is_well_formed():
    lines = (ROOT / "tools/lm_eval/word_order.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    assert len(questions) == 90
    for question in questions:
        answer = question["choices"][question["label"]]
        assert len(set(question["choices"])) == 4
        assert all(sorted(c.split(" ")) == sorted(answer.split(" ")) for c in question["choices"])
        # The answer alone is one swap of neighbours away from each of the others.
        near = [all(one_swap(c, other) for other in question["choices"] if other != c)
                for c in question["choices"]]
        assert near == [i == question["label"] for i in range(4)], question
