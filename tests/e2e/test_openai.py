"""The official OpenAI client against the HTTP door."""
import concurrent.futures

import openai
import pytest

PROMPT = "It was a dark night and the"
GREEDY = {"temperature": 0, "max_tokens": 24}

pytestmark = [pytest.mark.sanitizer, pytest.mark.tsan]


def test_models(client, server):
    assert [m.id for m in client.models.list()] == ["latentd-demo"]
    assert client.models.retrieve(server.model).object == "model"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("gpt-4")
    assert error.value.code == "model_not_found"


def test_completion_streamed_and_whole_agree(client, server):
    whole = client.completions.create(model=server.model, prompt=PROMPT, **GREEDY)
    assert whole.object == "text_completion" and whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 24
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24
    chunks = list(client.completions.create(model=server.model, prompt=PROMPT, stream=True,
                                            stream_options={"include_usage": True}, **GREEDY))
    text = "".join(c.choices[0].text for c in chunks if c.choices)
    assert text == whole.choices[0].text and text
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])
    assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == "length"


def test_default_of_sixteen_tokens(client, server):
    reply = client.completions.create(model=server.model, prompt=PROMPT, extra_body={"ignore_eos": True})
    assert reply.usage.completion_tokens == 16


def test_chat(client, server):
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is a "},
                                             {"type": "text", "text": "hacker?"}]}]
    whole = client.chat.completions.create(model=server.model, messages=messages, **GREEDY)
    assert whole.choices[0].message.role == "assistant" and whole.object == "chat.completion"
    joined = [{"role": "user", "content": "What is a hacker?"}]
    chunks = list(client.chat.completions.create(model=server.model, messages=joined, stream=True,
                                                 **GREEDY))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content


def test_chat_logprobs(client, server):
    reply = client.chat.completions.create(
        model=server.model, messages=[{"role": "user", "content": "Hello"}], logprobs=True,
        top_logprobs=5, temperature=0, max_tokens=6)
    for entry in reply.choices[0].logprobs.content:
        assert len(entry.top_logprobs) == 5
        assert entry.top_logprobs[0].logprob == entry.logprob  # greedy takes the best
        assert bytes(entry.bytes).decode("utf-8", "replace") == entry.token
    assert len(reply.choices[0].logprobs.content) == reply.usage.completion_tokens


def test_completion_logprobs_and_echo(client, server):
    reply = client.completions.create(model=server.model, prompt=PROMPT, echo=True, logprobs=3,
                                      temperature=0, max_tokens=4)
    choice = reply.choices[0]
    assert choice.text.startswith(PROMPT)
    logprobs = choice.logprobs
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    assert len(logprobs.tokens) == reply.usage.total_tokens == len(logprobs.text_offset)
    assert all(len(t) >= 3 for t in logprobs.top_logprobs[1:])


def test_choices_are_distinct_and_reproducible(client, server):
    def draw(n):
        reply = client.completions.create(model=server.model, prompt=PROMPT, n=n, seed=7,
                                          temperature=1, max_tokens=24)
        return [c.text for c in sorted(reply.choices, key=lambda c: c.index)]

    four = draw(4)
    assert len(set(four)) == 4 and draw(4) == four
    assert draw(2) == four[:2]


def test_prompts_by_choices_are_prompt_major(client, server):
    prompts = ["It was a", "And he said unto"]
    both = client.completions.create(model=server.model, prompt=prompts, n=2, seed=3, max_tokens=12)
    assert sorted(c.index for c in both.choices) == [0, 1, 2, 3]
    texts = {c.index: c.text for c in both.choices}
    for i, prompt in enumerate(prompts):
        alone = client.completions.create(model=server.model, prompt=prompt, n=2, seed=3, max_tokens=12)
        assert [c.text for c in sorted(alone.choices, key=lambda c: c.index)] == [texts[2 * i],
                                                                                  texts[2 * i + 1]]


def test_token_id_prompt(client, server):
    ids = server.post("/tokenize", {"prompt": PROMPT})[1]["tokens"]
    by_ids = client.completions.create(model=server.model, prompt=ids, **GREEDY)
    by_text = client.completions.create(model=server.model, prompt=PROMPT, **GREEDY)
    assert by_ids.choices[0].text == by_text.choices[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_stop_string_never_leaks(client, server, stream):
    whole = client.completions.create(model=server.model, prompt=PROMPT, temperature=0,
                                      max_tokens=40).choices[0].text
    stop = whole[10:14]  # spans tokens more often than not
    expected = whole[:whole.index(stop)]
    reply = client.completions.create(model=server.model, prompt=PROMPT, temperature=0, max_tokens=40,
                                      stop=[stop], stream=stream)
    if stream:
        chunks = [c for c in reply if c.choices]
        text, reason = "".join(c.choices[0].text for c in chunks), chunks[-1].choices[0].finish_reason
    else:
        text, reason = reply.choices[0].text, reply.choices[0].finish_reason
    assert text == expected and reason == "stop"


def test_logit_bias_and_min_tokens(client, server):
    token = server.post("/tokenize", {"prompt": " the", "add_special_tokens": False})[1]["tokens"][0]
    reply = client.completions.create(model=server.model, prompt=PROMPT, temperature=0, max_tokens=5,
                                      logit_bias={str(token): 100},
                                      extra_body={"return_token_ids": True, "ignore_eos": True})
    assert reply.choices[0].model_extra["token_ids"] == [token] * 5
    stopped = client.completions.create(
        model=server.model, prompt=PROMPT, temperature=0, max_tokens=9, logit_bias={str(token): 100},
        extra_body={"stop_token_ids": [token], "min_tokens": 4})
    assert stopped.usage.completion_tokens == 5 and stopped.choices[0].finish_reason == "stop"


def test_errors_are_typed(client, server):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=server.model, prompt=PROMPT, temperature=-1)
    assert error.value.param == "temperature" and error.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=server.model, prompt=PROMPT, max_tokens=10**6)
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-4", prompt=PROMPT)


def test_closing_a_stream_early_leaves_the_server_well(client, server):
    stream = client.completions.create(model=server.model, prompt=PROMPT, max_tokens=500, stream=True,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    assert client.completions.create(model=server.model, prompt=PROMPT, **GREEDY).choices[0].text


def test_many_at_once(client, server):
    def one(i):
        return client.completions.create(model=server.model, prompt=f"{PROMPT} {i % 4}", **GREEDY
                                         ).choices[0].text

    alone = [one(i) for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(16))) == [alone[i % 4] for i in range(16)]
