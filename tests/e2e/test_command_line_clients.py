"""curl and grpcurl, as the README shows them."""
import json
import subprocess

import pytest

from conftest import GRPCURL


def run(*args, check=True):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.mark.tsan
def test_curl(server):
    body = json.dumps({"prompt": "It was a", "max_tokens": 8, "temperature": 0})
    reply = json.loads(run("curl", "-s", server.url + "/v1/completions", "-H",
                           "Content-Type: application/json", "-d", body).stdout)
    assert reply["choices"][0]["text"] and reply["usage"]["completion_tokens"] <= 8
    streamed = run("curl", "-sN", server.url + "/v1/completions", "-H",
                   "Content-Type: application/json", "-d",
                   json.dumps({**json.loads(body), "stream": True})).stdout
    frames = [line[6:] for line in streamed.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    assert "".join(json.loads(f)["choices"][0]["text"] for f in frames[:-1]) == reply["choices"][0]["text"]


@pytest.mark.tsan
def test_plain_routes(server):
    def status(path, *more):
        return run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *more, server.url + path).stdout

    assert status("/health") == status("/ready") == status("/version") == status("/metrics") == "200"
    assert status("/health", "-I") == "200"
    assert status("/nowhere") == "404" and status("/v1/completions") == "405"
    metrics = run("curl", "-s", server.url + "/metrics").stdout
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
                 "vllm:time_to_first_token_seconds_bucket", "vllm:generation_tokens_total"):
        assert f'{name}{{' in metrics, name
    assert 'model_name="latentd-demo"' in metrics


def test_grpcurl(server):
    services = run(GRPCURL, "-plaintext", server.grpc, "list").stdout.split()
    assert {"latentd.v1.Inference", "grpc.health.v1.Health"} <= set(services)
    assert "latentd.v1.Admin" not in services
    out = run(GRPCURL, "-plaintext", "-d", '{"text": "It was a", "stop": {"max_tokens": 8}}', server.grpc,
              "latentd.v1.Inference/Generate").stdout
    assert "finish_reason" in out and "completion_tokens" in out
    bad = run(GRPCURL, "-plaintext", "-d", '{"text": "x", "sampling": {"temperature": -1}}', server.grpc,
              "latentd.v1.Inference/Generate", check=False)
    assert bad.returncode != 0 and "InvalidArgument" in bad.stderr and "temperature" in bad.stderr
