"""The gRPC door through grpcio, with types learned by reflection."""
import threading

import grpc
import pytest
from google.protobuf import descriptor_pb2  # noqa: F401 (reflection needs its types)

PROMPT = "It was a dark night and the"

pytestmark = pytest.mark.sanitizer


def generate(rpc, **fields):
    request = rpc.message("GenerateRequest", **fields)
    return list(rpc.call("Generate", request))


def sampling(rpc, **fields):
    return rpc.message("Sampling", **fields)


def stop(rpc, **fields):
    return rpc.message("Stop", **fields)


def test_generate(rpc):
    messages = generate(rpc, text=PROMPT, request_id="mine", sampling=sampling(rpc, temperature=0),
                        stop=stop(rpc, max_tokens=12))
    assert all(m.request_id == "mine" for m in messages)
    assert messages[0].HasField("width") and not any(m.HasField("width") for m in messages[1:])
    last = messages[-1]
    assert last.finish_reason == 2 and last.usage.completion_tokens == 12
    assert sum(len(m.token_ids) for m in messages) == 12
    assert last.timing.total_seconds >= last.timing.time_to_first_token_seconds > 0
    assert not any(m.HasField("usage") for m in messages[:-1])


def test_choices_each_finish_once(rpc):
    messages = generate(rpc, text=PROMPT, sampling=sampling(rpc, n=5, seed=1), stop=stop(rpc, max_tokens=7))
    finished = [m.choice for m in messages if m.finish_reason]
    assert sorted(finished) == [0, 1, 2, 3, 4]


def test_logits_hash_depends_on_the_tokens_alone(rpc):
    def run(text):
        last = generate(rpc, text=text, logits_hash=True, sampling=sampling(rpc, temperature=0),
                        stop=stop(rpc, max_tokens=6))[-1]
        return last.logits_hash

    assert len(run(PROMPT)) == 16 and run(PROMPT) == run(PROMPT) != run(PROMPT + " cat")


def test_score_equals_echo(rpc):
    ids = rpc.call("Tokenize", rpc.message("TokenizeRequest", text=PROMPT)).token_ids
    TokenIds = type(rpc.message("TokenIds"))
    pieces = list(rpc.call("Score", rpc.message("ScoreRequest", token_ids=TokenIds(ids=ids), top=2)))
    scored = [entry for piece in pieces for entry in piece.logprobs]
    assert pieces[-1].num_tokens == len(scored) == len(ids) - 1
    assert pieces[-1].total_logprob == pytest.approx(sum(e.logprob for e in scored), rel=1e-9)
    messages = generate(rpc, text=PROMPT, echo=True, stop=stop(rpc, max_tokens=0),
                        logprobs=rpc.message("LogprobOptions", prompt_top=2))
    echoed = [e for m in messages for e in m.prompt_logprobs]
    assert not echoed[0].HasField("logprob")
    assert [e.logprob for e in echoed[1:]] == [e.logprob for e in scored]
    assert [e.token_id for e in echoed] == list(ids)


def test_models(rpc, server):
    models = rpc.call("ListModels", rpc.message("ListModelsRequest")).models
    assert [m.id for m in models] == [server.model]
    model = rpc.call("GetModel", rpc.message("GetModelRequest", model=server.model))
    assert (model.family, model.qk_norm, model.num_heads, model.num_kv_groups) == (
        "latent_mla", "blockwise", 12, 4)
    assert model.determinism == "strict" and len(model.elastic.q_ranks) == 5
    with pytest.raises(grpc.RpcError) as error:
        rpc.call("GetModel", rpc.message("GetModelRequest", model="other"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_deadline(rpc):
    request = rpc.message("GenerateRequest", text=PROMPT,
                          stop=stop(rpc, max_tokens=900, ignore_eos=True))
    with pytest.raises(grpc.RpcError) as error:
        list(rpc.call("Generate", request, timeout=0.05))
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_cancel_returns_the_cache(rpc, server):
    call = rpc.call("Generate", rpc.message("GenerateRequest", text=PROMPT,
                                            stop=stop(rpc, max_tokens=900, ignore_eos=True)))
    next(call)
    call.cancel()
    wait_idle(rpc, 0)  # what an earlier test left may still be leaving


def wait_idle(rpc, tokens_in_use):
    """Asks until the cache is as it was; each answer comes from the engine, so this ends when it does."""
    request = rpc.message("GetCacheStatsRequest", admin=True)
    tick = threading.Event()
    for _ in range(600):
        if rpc.call("GetCacheStats", request, admin=True).tokens_in_use == tokens_in_use:
            return
        tick.wait(0.05)
    raise AssertionError("the cache never became idle")


def test_admin_is_on_its_own_port(rpc, server):
    status = rpc.call("GetStatus", rpc.message("GetStatusRequest", admin=True), admin=True)
    assert status.ready and not status.draining and status.backend.startswith(("cpu ", "cuda "))
    method = server.channel.unary_unary("/latentd.v1.Admin/GetStatus")
    with pytest.raises(grpc.RpcError) as error:
        method(b"")
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["", "liveness", "readiness"])
def test_health(server, service):
    # grpc.health.v1.HealthCheckRequest{service = 1}; SERVING is 1.
    request = b"" if not service else b"\x0a" + bytes([len(service)]) + service.encode()
    assert server.channel.unary_unary("/grpc.health.v1.Health/Check")(request) == b"\x08\x01"
    watch = server.channel.unary_stream("/grpc.health.v1.Health/Watch")(request)
    assert next(watch) == b"\x08\x01"
    watch.cancel()


def test_health_of_an_unknown_service(server):
    with pytest.raises(grpc.RpcError) as error:
        server.channel.unary_unary("/grpc.health.v1.Health/Check")(b"\x0a\x01x")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_too_large_a_message(rpc):
    with pytest.raises(grpc.RpcError) as error:
        generate(rpc, text="x" * (9 << 20))
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert generate(rpc, text=PROMPT)[-1].finish_reason
