"""Start, drain and stop; what a person sees on the command line."""
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from conftest import BINARY, DEMO, Server


def run(*args, **kwargs):
    return subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, **kwargs)


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("args", [
    [], ["fly"], ["serve", "--no-such-flag"], ["serve", "--max-queue", "many"], ["serve", "--http", "x"],
    ["serve", "--cpu-path", "abacus"], ["generate"], ["serve", "--max-num-seqs", "500"],
    ["serve", "--api-key", "k"], ["serve", "--determinism", "loose"],
    ["serve", "--width", "96,64", "--elastic-policy", "pressure"],
    ["generate", "-p", "x", "--temperature", "-1"], ["generate", "-p", "x", "--max-tokens", "0"],
    *[[*command, "--width", width] for width in ("x", "96", "-5,64", "96,0")
      for command in (["serve"], ["generate", "-p", "x"], ["score", "/dev/null"], ["bench"])],
    *[["score", "/dev/null", "--stride", stride] for stride in ("x", "0", "-1")],
    ["serve", "--cache-tokens", "100", "--cache-memory", "1G"],
])
def test_usage_errors(args):
    done = run(*args)
    assert done.returncode == 2 and done.stdout == "", done
    assert last_line(done).startswith("latentd: ")


@pytest.mark.parametrize("args, words", [
    (["frob"], ["'frob'", "serve, generate, score, inspect and bench"]),
    (["frob", "--port", "1"], ["'frob'"]), (["serv"], ["'serv'"]), ([""], ["''"]),
    (["gateway", "--engines", "a:1"], ["gateway comes with a later version"]),
])
def test_unknown_commands_are_named(args, words):
    done = run(*args)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done
    assert all(word in done.stderr for word in words), done


def test_bad_environment_and_config_file(tmp_path):
    done = run("serve", env={**os.environ, "LATENTD_MAX_QUEUE": "0"})
    assert done.returncode == 2 and "LATENTD_MAX_QUEUE" in last_line(done)
    config = tmp_path / "c.json"
    config.write_text('{"max_queue": 5, "nonsense": 1}')
    done = run("serve", "--config", config)
    assert done.returncode == 2 and "nonsense" in last_line(done)
    config.write_text("root:x:0:0")
    for bad in (config, tmp_path, tmp_path / "absent.json", "/dev/zero"):
        done = run("serve", "--config", bad)
        assert done.returncode == 1 and str(bad) in last_line(done) and done.stderr.count("\n") == 1


def test_the_higher_source_sizes_the_cache(tmp_path):
    """All three sources are read before the model: --model /absent is what fails where they agree."""
    config = tmp_path / "c.json"
    config.write_text('{"cache_memory": "256M"}')
    absent = ["--model", tmp_path / "absent", "--config", config]
    for args, env in ([["--cache-tokens", "4096"], {}], [[], {"LATENTD_CACHE_TOKENS": "4096"}],
                      [["--cache-memory", "1G"], {"LATENTD_CACHE_TOKENS": "4096"}]):
        done = run("serve", *absent, *args, env={**os.environ, **env})
        assert done.returncode == 1 and "absent" in last_line(done), done
    both = {"LATENTD_CACHE_TOKENS": "4096", "LATENTD_CACHE_MEMORY": "1G"}
    done = run("serve", *absent, env={**os.environ, **both})
    assert done.returncode == 2 and "--cache-memory" in last_line(done)
    config.write_text('{"cache_memory": "256M", "cache_tokens": 4096}')
    assert run("serve", *absent).returncode == 2


def test_a_key_that_comes_twice_is_refused(tmp_path):
    config = tmp_path / "c.json"
    config.write_text('{"max_queue": 5, "step_ms": 7, "max_qu\\u0065ue": 6}')
    done = run("serve", "--config", config)
    assert done.returncode == 1 and "max_queue twice" in last_line(done)


def test_commands_take_what_acts_on_them(tmp_path):
    for flag in ("--cache-tokens", "--cache-memory", "--max-model-len", "--step-ms", "--max-num-seqs"):
        assert run("bench", flag, "100").returncode == 2
        assert flag not in run("bench", "--help").stdout
    unrelated = {"LATENTD_MAX_QUEUE": "many", "LATENTD_CACHE_MEMORY": "1G", "LATENTD_CACHE_TOKENS": "1"}
    environment = {**os.environ, **unrelated}
    report = run("inspect", "--json", env=environment)
    assert report.returncode == 0 and json.loads(report.stdout)["family"] == "latent_mla"
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"model": str(tmp_path / "absent"), "max_queue": 5}))
    for args, env in ([["--model", tmp_path / "absent"], {}], [["--config", config], {}],
                      [[], {"LATENTD_MODEL": str(tmp_path / "absent")}],
                      [[], {"LATENTD_CONFIG": str(config)}]):
        done = run("inspect", *args, env={**environment, **env})
        assert done.returncode == 1 and "absent" in last_line(done), done
    done = run("inspect", DEMO, env={**environment, "LATENTD_CONFIG": str(config)})
    assert done.returncode == 0, done


def test_what_only_the_model_can_tell_is_no_usage_error(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("In the beginning")
    for args in (["--stride", "99999"], ["--width", "17,8"]):
        done = run("score", text, *args)
        assert done.returncode == 1 and args[0].strip("-") in last_line(done), done


def test_failures_to_start(tmp_path, server):
    taken_http, taken_grpc = server.http, server.grpc
    cases = [
        ["serve", "--model", tmp_path / "absent"],
        ["serve", "--http", taken_http, "--grpc", "127.0.0.1:0"],
        ["serve", "--http", "127.0.0.1:0", "--grpc", taken_grpc],
        ["serve", "--cache-memory", "900T"],
        ["serve", "--max-model-len", "100000000"],
        ["inspect", tmp_path],
        ["score", "--model", DEMO, tmp_path / "absent.txt"],
        ["score", "--model", DEMO, tmp_path],
        ["bench", "--random-weights", tmp_path],
    ]
    for args in cases:
        done = run(*args)
        assert done.returncode == 1 and done.stdout == "", (args, done)
        line = last_line(done)
        assert line.startswith("latentd: ") and len(line) < 500, line
    assert taken_http.rsplit(":")[1] in last_line(run(*cases[1]))
    assert taken_grpc.rsplit(":")[1] in last_line(run(*cases[2]))


HOSTILE = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "recurses": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "explodes": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
                "{% endfor %}{{ ns.x }}",
    "fills the memory": "{{ 'a' * 90000000 }}",
    "explodes on a system message": "{% if messages[0].role == 'system' %}{{ 'a' * 90000000 }}{% endif %}",
}


def folder_with_template(tmp_path, jinja):
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    (folder / "chat_template.jinja").write_text(jinja)
    return folder


@pytest.mark.parametrize("jinja", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("command", [["serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"],
                                     ["generate", "-p", "x"]])
def test_a_template_without_end_stops_the_start(tmp_path, jinja, command):
    done = run(*command, "--model", folder_with_template(tmp_path, jinja))
    assert done.returncode == 1 and done.stdout == "", done
    line = last_line(done)
    assert line.startswith("latentd: chat_template.jinja: chat template: ") and len(line) < 200, line


def test_a_template_that_refuses_is_served(tmp_path, start):
    jinja = "{{ raise_exception('only tools may speak') }}"
    server = start("--model", folder_with_template(tmp_path, jinja))
    status, reply, _ = server.post("/v1/chat/completions",
                                   {"messages": [{"role": "user", "content": "x"}]})
    assert status == 400 and "only tools may speak" in reply["error"]["message"]
    assert server.post("/v1/completions", {"prompt": "It was", "max_tokens": 2})[0] == 200


def test_version_and_help():
    assert run("--version").stdout.startswith("latentd 0.")
    text = run("serve", "--help").stdout
    for word in ("--max-num-seqs", "Scheduling", "Limits", "--cache-tokens", "--config"):
        assert word in text


def test_generate_is_what_the_server_gives(server):
    prompt = "It was a dark night and the"
    cli = run("generate", "-p", prompt, "--max-tokens", 20, "--temperature", 0)
    _, reply, _ = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 20, "temperature": 0})
    assert cli.returncode == 0 and cli.stderr == ""
    assert cli.stdout == reply["choices"][0]["text"]


def test_score(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("And it came to pass in those days, that there went out a decree. " * 60)
    done = run("score", text)
    assert done.returncode == 0 and done.stderr == ""
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert float(lines["log-likelihood"]) < 0 and float(lines["perplexity"]) > 1
    overlapped = run("score", text, "--stride", 200)
    more = dict(line.split(" ", 1) for line in overlapped.stdout.splitlines())
    assert "stride 200" in overlapped.stdout
    assert float(more["perplexity"]) <= float(lines["perplexity"])  # more context for each token


def test_inspect():
    report = json.loads(run("inspect", "--json").stdout)
    assert report["family"] == "latent_mla"
    assert "latent_mla" in run("inspect", DEMO).stdout
    assert "memory" not in report
    fits = json.loads(run("inspect", DEMO, "--json", "--memory", "1GiB").stdout)["memory"]
    assert fits["bytes"] == 2**30 and fits["tokens"] == report["cache"]["tokens_in_1_gib"]
    assert run("inspect", DEMO, "--memory", "x").returncode == 2


def test_a_full_disk_is_no_success(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("In the beginning God created the heaven and the earth.")
    for args in (["inspect"], ["generate", "-p", "It was", "--max-tokens", "3"], ["score", text],
                 ["score", "--grid", "--q", "96", "--kv", "64", text],
                 ["bench", "--prefill", "2", "--repeat", "1"]):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([BINARY, *map(str, args)], stdout=full, stderr=subprocess.PIPE,
                                  text=True, check=False)
        assert done.returncode == 1, (args, done)
        assert done.stderr == "latentd: stdout cannot be written: No space left on device\n"


def test_config_file_and_environment(tmp_path, start):
    config = tmp_path / "c.json"
    config.write_text('{"served_model_name": "from-file", "max_queue": 7}')
    assert start("--config", config).model == "from-file"
    assert start("--config", config, env={"LATENTD_SERVED_MODEL_NAME": "from-env"}).model == "from-env"


def test_drain_finishes_streams_and_refuses_new_work():
    server = Server()
    client = server.openai()
    stream = client.completions.create(model=server.model, prompt="It was", max_tokens=900, stream=True,
                                       extra_body={"ignore_eos": True})
    chunks = iter(stream)
    next(chunks)
    server.process.send_signal(signal.SIGTERM)
    tick = threading.Event()
    while server.post("/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 200:
        tick.wait(0.01)  # the signal is on its way
    status, reply, headers = server.post("/v1/completions", {"prompt": "x", "max_tokens": 1})
    assert status == 503 and "drain" in reply["error"]["message"] and int(headers["Retry-After"]) >= 1
    rest = [c for c in chunks if c.choices]
    assert rest[-1].choices[0].finish_reason == "length"
    assert server.process.wait() == 0


def test_a_second_signal_ends_at_once():
    server = Server("--drain-timeout", 600)
    stream = server.openai().completions.create(model=server.model, prompt="It was", max_tokens=900,
                                                stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    server.process.send_signal(signal.SIGTERM)
    tick = threading.Event()
    while server.post("/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 200:
        tick.wait(0.01)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait() == 128 + signal.SIGINT


def test_admin_drain_does_not_exit(start):
    from conftest import Rpc
    server = start()
    rpc = Rpc(server)
    rpc.call("Drain", rpc.message("DrainRequest", admin=True), admin=True)
    assert server.post("/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 503
    status = rpc.call("GetStatus", rpc.message("GetStatusRequest", admin=True), admin=True)
    assert status.draining and not status.ready
    assert server.process.poll() is None


@pytest.mark.parametrize("option, cause", [("--max-queue", "requests are waiting, and at most 1 may"),
                                           ("--max-queue-tokens", "prompt tokens are waiting, and at most 1 may")])
def test_a_full_queue_is_503(start, option, cause):
    server = start("--max-num-seqs", 1, option, 1)
    results, threads = [], []

    def ask():
        results.append(server.post("/v1/completions", {"prompt": "It was", "max_tokens": 300,
                                                       "ignore_eos": True}))

    for _ in range(12):
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
    for thread in threads:
        thread.join()
    statuses = [status for status, _, _ in results]
    assert set(statuses) == {200, 503}
    refused = next(r for r in results if r[0] == 503)
    assert int(refused[2]["Retry-After"]) >= 1
    assert cause in refused[1]["error"]["message"]


def test_timeout(server):
    status, reply, _ = server.post("/v1/completions", {"prompt": "It was", "max_tokens": 900,
                                                       "ignore_eos": True, "timeout": 0.02})
    assert status == 504 and set(reply) == {"error"}


def test_a_slow_header_is_408(start):
    server = start("--header-timeout", 1)
    host, port = server.http.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        assert b" 408 " in connection.recv(4096)
