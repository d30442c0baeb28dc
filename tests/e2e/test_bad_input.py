"""Bad input at both doors: a clear error that names the field, the same text at both, and a server that
answers rightly afterwards."""
import json
import re
import urllib.request

import grpc
import pytest

LIMIT = 2**31
CHAT = {"messages": [{"role": "user", "content": "hi"}]}

# (fields of a completion, param, part of the message)
COMPLETIONS = [
    ({"temperature": -0.1}, "temperature", "0"),
    ({"temperature": "hot"}, "temperature", "number"),
    ({"temperature": True}, "temperature", "number"),
    ({"temperature": 1e39}, "temperature", ""),
    ({"top_p": 0}, "top_p", "0"),
    ({"top_p": 1.5}, "top_p", "1"),
    ({"top_k": -2}, "top_k", "-1"),
    ({"top_k": 1.5}, "top_k", ""),
    ({"min_p": -0.5}, "min_p", "0"),
    ({"min_p": 2}, "min_p", "1"),
    ({"repetition_penalty": 0}, "repetition_penalty", "0"),
    ({"repetition_penalty": -1}, "repetition_penalty", "0"),
    ({"presence_penalty": 2.5}, "presence_penalty", "2"),
    ({"frequency_penalty": -2.5}, "frequency_penalty", "2"),
    ({"n": 0}, "n", "1"),
    ({"n": 129}, "n", "128"),
    ({"n": -1}, "n", ""),
    ({"n": "2"}, "n", ""),
    ({"best_of": 3}, "best_of", ""),
    ({"suffix": "x"}, "suffix", ""),
    ({"max_tokens": 0}, "max_tokens", "1"),
    ({"max_tokens": -1}, "max_tokens", ""),
    ({"max_tokens": 1.5}, "max_tokens", ""),
    ({"max_tokens": 10**6}, "max_tokens", "context"),
    ({"max_tokens": 2**40}, "max_tokens", ""),
    ({"max_tokens": 4, "min_tokens": 5}, "min_tokens", "max_tokens"),
    ({"min_tokens": -1}, "min_tokens", ""),
    ({"stop": ""}, "stop", "empty"),
    ({"stop": ["a", ""]}, "stop", "empty"),
    ({"stop": ["x"] * 65}, "stop", "64"),
    ({"stop": 5}, "stop", ""),
    ({"stop_token_ids": [10**6]}, "stop_token_ids", "2048"),
    ({"stop_token_ids": [-1]}, "stop_token_ids", ""),
    ({"logprobs": 21}, "logprobs", "20"),
    ({"logprobs": -1}, "logprobs", ""),
    ({"prompt_logprobs": 21}, "prompt_logprobs", "20"),
    ({"logit_bias": {"5": 101}}, "logit_bias", "100"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias", "2048"),
    ({"logit_bias": {"x": 1}}, "logit_bias", ""),
    ({"logit_bias": [1]}, "logit_bias", ""),
    ({"seed": 1.5}, "seed", ""),
    ({"seed": 2**70}, "seed", ""),
    ({"prompt": ""}, None, ""),  # with BOS this is one token: served
    ({"prompt": None}, "prompt", ""),
    ({"prompt": []}, "prompt", ""),
    ({"prompt": [[]]}, "prompt", ""),
    ({"prompt": [1, "a"]}, "prompt", ""),
    ({"prompt": [10**6]}, "prompt", "2048"),
    ({"prompt": [-1]}, "prompt", ""),
    ({"prompt": {"a": 1}}, "prompt", ""),
    ({"prompt": "word " * 20000}, "prompt", "context"),
    ({"stream": "yes"}, "stream", ""),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream"),
    ({"timeout": 0}, "timeout", "0"),
    ({"timeout": -5}, "timeout", "0"),
    ({"echo": "yes"}, "echo", ""),
    ({"model": 5}, "model", ""),
    ({"no_such_field": 1}, "no_such_field", ""),
    ({"width": {"q": 17, "kv": 8}}, "width.q", ""),
    ({"width": {"q": 0}}, "width", ""),
    ({"structured_outputs": {"regex": "a"}}, "structured_outputs", ""),
    ({"response_format": {"type": "json_object"}}, "response_format", ""),
    ({"functions": []}, "functions", ""),
]
CHATS = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": 5, "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
     "messages[0].content"),
    ({**CHAT, "max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ({**CHAT, "top_logprobs": 3}, "top_logprobs"),
    ({**CHAT, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({**CHAT, "n": 0}, "n"),
    ({**CHAT, "response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
]
RAW = [
    b"", b"{", b"null", b"[]", b"5", b'"x"', b'{"prompt": "x"', b'{"prompt": "x",}', b"{'prompt': 'x'}",
    b'{"prompt": "x", "prompt": "y"}', b'{"prompt": "x", "pr\\u006fmpt": "y"}', b'{"prompt": NaN}',
    b'{"prompt": "x", "temperature": Infinity}', b'{"prompt": "x", "temperature": 1e999}',
    b'{"prompt": "\\ud800"}', b'{"prompt": "\xff"}', b'{"prompt": "\x01"}', b"[" * 500,
    b'{"prompt": ' + b"[" * 200 + b"]" * 200 + b"}", b'\xef\xbb\xbf{"prompt": "x"}', b'{"a": 01}',
]


def well(server):
    status, reply, _ = server.post("/v1/completions", {"prompt": "It was", "max_tokens": 3,
                                                       "temperature": 0})
    assert status == 200 and reply["usage"]["completion_tokens"] >= 1


def is_error(reply):
    assert set(reply) == {"error"}
    error = reply["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and len(error["message"]) <= 800 and "\n" not in error["message"]
    return error


@pytest.mark.sanitizer
@pytest.mark.tsan
def test_completions(server):
    assert len(COMPLETIONS) + len(CHATS) + len(RAW) >= 60
    for fields, param, part in COMPLETIONS:
        status, reply, _ = server.post("/v1/completions", {"prompt": "hi", **fields})
        if param is None:
            assert status == 200, (fields, reply)
            continue
        assert status == 400, (fields, status, reply)
        error = is_error(reply)
        assert error["type"] == "invalid_request_error", fields
        assert (error["param"] or "").startswith(param), (fields, error)
        assert part in error["message"], (fields, error)
    well(server)


@pytest.mark.sanitizer
@pytest.mark.tsan
def test_chats(server):
    for body, param in CHATS:
        status, reply, _ = server.post("/v1/chat/completions", body)
        assert status == 400, (body, reply)
        assert (is_error(reply)["param"] or "").startswith(param), (body, reply)
    well(server)


@pytest.mark.sanitizer
@pytest.mark.tsan
def test_raw_bodies(server):
    for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
        for body in RAW:
            status, reply, _ = server.post(path, body)
            assert status == 400, (path, body, reply)
            is_error(reply)
    well(server)


def test_http_itself(server):
    assert server.post("/v1/completions", b"x", {"Content-Type": "text/plain"})[0] == 415
    assert server.post("/v1/nothing", {})[0] == 404
    status, reply, headers = server.post("/v1/models", {})
    assert status == 405 and "GET" in headers["Allow"]
    is_error(reply)
    status, reply, _ = server.post("/v1/completions", {"prompt": "x", "model": "gpt-4"})
    assert status == 404 and is_error(reply)["code"] == "model_not_found"
    assert server.post("/v1/completions", b" " * (9 << 20))[0] == 413
    well(server)


# The same mistakes as protobuf: (GenerateRequest fields, the JSON that says the same).
def grpc_cases(rpc):
    Sampling, Stop = type(rpc.message("Sampling")), type(rpc.message("Stop"))
    Logprobs, TokenIds = type(rpc.message("LogprobOptions")), type(rpc.message("TokenIds"))
    Width, Constraint = type(rpc.message("Width")), type(rpc.message("Constraint"))
    nan, inf = float("nan"), float("inf")
    both = [
        *[({"sampling": Sampling(**{k: v})}, {k: v}) for k, v in [
            ("temperature", -0.5), ("temperature", -1e-3), ("top_p", 0.0), ("top_p", 1.25),
            ("top_p", -1.0), ("top_k", -2), ("min_p", -0.5), ("min_p", 1.5), ("min_p", 2.0),
            ("repetition_penalty", 0.0), ("repetition_penalty", -1.5), ("presence_penalty", 2.5),
            ("presence_penalty", -2.25), ("frequency_penalty", 3.0), ("frequency_penalty", -2.5),
            ("n", 0), ("n", 129), ("n", 100000)]],
        *[({"sampling": Sampling(logit_bias=b)}, {"logit_bias": {str(k): v for k, v in b.items()}})
          for b in ({5: 101.0}, {5: -100.5}, {10**6: 1.0})],
        ({"stop": Stop(max_tokens=0)}, {"max_tokens": 0}),
        ({"stop": Stop(max_tokens=10**6)}, {"max_tokens": 10**6}),
        ({"stop": Stop(max_tokens=4, min_tokens=5)}, {"max_tokens": 4, "min_tokens": 5}),
        ({"stop": Stop(strings=[""])}, {"stop": [""]}),
        ({"stop": Stop(strings=["a", "b", ""])}, {"stop": ["a", "b", ""]}),
        ({"stop": Stop(strings=["x"] * 65)}, {"stop": ["x"] * 65}),
        ({"stop": Stop(token_ids=[10**6])}, {"stop_token_ids": [10**6]}),
        ({"logprobs": Logprobs(top=21)}, {"logprobs": 21}),
        ({"logprobs": Logprobs(prompt_top=21)}, {"prompt_logprobs": 21}),
        ({"token_ids": TokenIds(ids=[10**6])}, {"prompt": [10**6]}),
        ({"token_ids": TokenIds(ids=[1, 2, 10**9])}, {"prompt": [1, 2, 10**9]}),
        ({"token_ids": TokenIds(ids=[5] * 5000)}, {"prompt": [5] * 5000}),
        ({"text": "word " * 20000}, {"prompt": "word " * 20000}),
        ({"text": "word " * 1500000}, {"prompt": "word " * 1500000}),  # nearly the largest body
        ({"width": Width(q=17, kv=8)}, {"width": {"q": 17, "kv": 8}}),
        ({"width": Width(q=0)}, {"width": {"q": 0}}),
        ({"width": Width(kv=1)}, {"width": {"kv": 1}}),
        ({"model": "gpt-4"}, {"model": "gpt-4"}),
    ]
    alone = [
        *[{"sampling": Sampling(**{k: v})} for v in (nan, inf, -inf) for k in (
            "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty",
            "frequency_penalty")],
        {"sampling": Sampling(logit_bias={1: nan})},
        {"sampling": Sampling(logit_bias={1: inf})},
        {"token_ids": TokenIds()},
        {"chat": rpc.message("Chat")},
        {"chat": rpc.message("Chat", messages=[rpc.message("Message", content="x")])},
        {"chat": rpc.message("Chat", messages=[rpc.message("Message", role="user", content="x")],
                             tools_json=["{"])},
        {"chat": rpc.message("Chat", messages=[rpc.message("Message", role="user", content="x")],
                             chat_template_kwargs_json="[1]")},
        {"chat": rpc.message("Chat", messages=[rpc.message("Message", role="user", content="x",
                                                           extra_json="nope")])},
        *[{"constraint": Constraint(**c)} for c in (
            {"regex": "a"}, {"json_schema": "{}"}, {"lark": "start: \"a\""}, {"json_object": True})],
    ]
    return both, alone


def grpc_error(rpc, fields):
    if not set(fields) & {"text", "token_ids", "chat"}:
        fields = {"text": "hi", **fields}
    with pytest.raises(grpc.RpcError) as error:
        list(rpc.call("Generate", rpc.message("GenerateRequest", **fields)))
    return error.value


@pytest.mark.sanitizer
def test_grpc(server, rpc):
    both, alone = grpc_cases(rpc)
    assert len(both) + len(alone) >= 60
    for fields, body in both:
        error = grpc_error(rpc, fields)
        status, reply, _ = server.post("/v1/completions", {"prompt": "hi", **body})
        expected = grpc.StatusCode.NOT_FOUND if "model" in fields else grpc.StatusCode.INVALID_ARGUMENT
        assert error.code() == expected, (fields, error)
        assert status == (404 if "model" in fields else 400)
        assert error.details() == is_error(reply)["message"], fields  # one text at both doors
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert b"latentd.v1.ErrorDetail" in details
        if reply["error"]["param"]:
            assert reply["error"]["param"].encode() in details
    for fields in alone:
        error = grpc_error(rpc, fields)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, (fields, error)
        assert error.details() and "\n" not in error.details()
    with pytest.raises(grpc.RpcError) as error:
        list(rpc.call("Generate", rpc.message("GenerateRequest")))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    well(server)


@pytest.mark.sanitizer
def test_grpc_bytes_that_are_no_message(server, rpc):
    before, logged = refused_as_invalid(server), len(server.log)
    no_text = b"\x1a\x02a\xff"  # field 3, GenerateRequest.text
    for method, body, message in [
            ("Generate", b"\xff" * 40, "the bytes are no latentd.v1.GenerateRequest"),
            ("Score", b"\xff" * 40, "the bytes are no latentd.v1.ScoreRequest"),
            ("Generate", no_text, "prompt must be valid UTF-8")]:
        call = server.channel.unary_stream(f"/latentd.v1.Inference/{method}")(body)
        with pytest.raises(grpc.RpcError) as error:
            list(call)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert error.value.details() == message
        details = dict(error.value.trailing_metadata())["grpc-status-details-bin"]
        assert b"latentd.v1.ErrorDetail" in details
    assert refused_as_invalid(server) == before + 3
    assert not [line for line in server.log[logged:] if "protobuf" in line]
    well(server)


def refused_as_invalid(server):
    with urllib.request.urlopen(server.url + "/metrics") as reply:
        text = reply.read().decode()
    found = re.search(r'^latentd_requests_refused_total\{.*reason="invalid".*\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_unknown_fields_can_be_ignored(start):
    server = start("--unknown-fields", "ignore")
    assert server.post("/v1/completions", {"prompt": "x", "max_tokens": 1, "no_such": 1})[0] == 200


def test_accepted_without_effect(server):
    body = {**CHAT, "max_tokens": 2, "user": "u", "metadata": {"a": "b"}, "store": False,
            "service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k",
            "parallel_tool_calls": True, "response_format": {"type": "text"}, "tools": [],
            "tool_choice": "none", "modalities": ["text"], "reasoning_effort": "low",
            "temperature": None, "seed": -3}
    status, reply, _ = server.post("/v1/chat/completions", body)
    assert status == 200, json.dumps(reply)
