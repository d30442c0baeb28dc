"""bench/peers: its statistics, its checks of what a server did, and who takes part in which round. Nothing is timed."""
import http.server
import json
import sys
import threading

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "bench/peers"))
import load  # noqa: E402
import report  # noqa: E402
import rounds  # noqa: E402

ROOFS = {"roof_gb_per_second": 40.0, "roof_tflops": 0.5}
ON, OFF = "llama.cpp bf16, flash attention on", "llama.cpp bf16, flash attention off"


def seen(sent, arrivals):
    return load.Seen(sent, arrivals, {"completion_tokens": len(arrivals)})


def test_figures_of_a_load():
    figures = load.figures([seen(10.0, [10.5, 10.6, 10.7, 10.8]), seen(10.25, [11.25, 11.5, 12.0, 14.0])])
    assert figures["tokens_per_second"] == pytest.approx(8 / 4)  # from 10.0 to 14.0
    assert figures["ttft_p50_ms"] == pytest.approx(750)          # of 500 and 1000
    assert figures["ttft_p99_ms"] == pytest.approx(1000)
    assert figures["itl_p50_ms"] == pytest.approx(175)           # of 100, 100, 100, 250, 500, 2000
    assert figures["itl_p99_ms"] == pytest.approx(2000)


def test_quantile_is_a_value_that_was_seen():
    values = list(range(1, 201))
    assert load.quantile(values[::-1], 0.99) == 199  # two in two hundred are not below it
    assert load.quantile([7], 0.99) == 7


def test_prompts_share_no_prefix():
    prompts = [load.prompt(32768, 256, f"round {r} {c} {n}") for r in range(3) for c in range(32) for n in range(2)]
    assert len({p[0] for p in prompts}) > 180 and len({tuple(p[:2]) for p in prompts}) == len(prompts)
    assert min(map(min, prompts)) >= load.FIRST_WORD and max(map(max, prompts)) < 32768


@pytest.fixture
def played():
    """A completions server: `post(events)` is its port; it keeps the bodies that it was sent."""
    events, bodies = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            for event in events:
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, events, bodies
    server.shutdown()
    thread.join()
    server.server_close()


def stream(pieces, **usage):
    return [*({"choices": [{"text": text}]} for text in pieces), {"choices": [], "usage": usage}]


def test_a_completion(played):
    port, events, bodies = played
    events += stream([" a"] * 18 + ["", ""], prompt_tokens=3, completion_tokens=20)
    assert len(load.complete(port, [300, 301, 302], 20).arrivals) == 18
    [body] = bodies
    assert body["prompt"] == [300, 301, 302] and body["max_tokens"] == 20
    assert body["ignore_eos"] is True and body["temperature"] == 0 and body["stream"] is True


@pytest.mark.parametrize("pieces, usage, message", [
    (20, dict(prompt_tokens=3, completion_tokens=19), "completion_tokens is 19 instead of 20"),
    (20, dict(prompt_tokens=4, completion_tokens=20), "prompt_tokens is 4 instead of 3"),
    (20, dict(prompt_tokens=3, completion_tokens=20, prompt_tokens_details={"cached_tokens": 2}), "2 prompt tokens"),
    (17, dict(prompt_tokens=3, completion_tokens=20), "20 tokens came in 17 pieces"),
])
def test_a_server_that_does_other_work(played, pieces, usage, message):
    port, events, _ = played
    events += stream([" a"] * pieces, **usage)
    with pytest.raises(RuntimeError, match=message):
        load.complete(port, [300, 301, 302], 20)


def test_the_generators_own_share_is_stated(played):
    port, events, bodies = played
    events += stream([" a"] * 4, prompt_tokens=5, completion_tokens=4)
    figures = load.run(port, load.Load(clients=3, prompt_tokens=5, new_tokens=4, requests=2), 32768, "seed")
    assert len({tuple(body["prompt"]) for body in bodies}) == 6
    assert 0 < figures["generator_share"] <= 1


def test_a_failed_request_fails_the_load(played):
    port, events, _ = played
    events.append({"error": {"message": "full"}})
    with pytest.raises(RuntimeError, match="full"):
        load.run(port, load.Load(2, 5, 4, 1), 32768, "seed")


class Work:
    """Its contestants' figures are given, round by round."""
    name, goal = "decode", "≥ 1.0"

    beaten = 0.8

    def __init__(self, figures):
        self.figures, self.turns = figures, []

    def commands(self, who):
        return [who.name, "--model", "a b"]

    def run(self, who, seed):
        self.turns.append((seed, who.name))
        return {"tokens_per_second": self.figures[who.name].pop(0), "share_of_roof": 0.5}


class Contestant:
    def __init__(self, name, turns):
        self.name, self.turns = name, turns

    def release(self):
        self.turns.append(("released", self.name))


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch):
    monkeypatch.setattr(report, "idle_share", lambda: 0.97)


def timed(figures, count=3, **kwargs):
    work = Work({name: list(values) for name, values in figures.items()})
    contestants = [Contestant(name, work.turns) for name in figures]
    row = rounds.time_rounds(work, contestants, count, lambda: ROOFS, **kwargs)
    assert len(contestants) == len(figures)  # for the next work
    return work, row


def test_turns_and_the_setting_that_sits_out():
    work, row = timed({"latentd": [30, 31, 29], ON: [20, 10, 12], OFF: [15]})
    assert work.turns == [("round 0", "latentd"), ("round 0", ON), ("round 0", OFF), ("released", OFF),
                          ("round 1", ON), ("round 1", "latentd"), ("round 2", "latentd"), ("round 2", ON),
                          ("released", "latentd"), ("released", ON)]
    # The one figure of the setting that sits out is no median to compare with.
    assert row.peer() == ON and row.ratios() == pytest.approx([1.5, 3.1, 29 / 12])
    assert row.commands[ON] == f"'{ON}' --model 'a b'" and len(row.idle) == len(row.roofs) == 3


def test_a_failure_leaves_no_server():
    turns = []
    contestants = [Contestant("latentd", turns), Contestant(ON, turns)]
    with pytest.raises(IndexError):
        rounds.time_rounds(Work({"latentd": [30], ON: []}), contestants, 1, lambda: ROOFS)
    assert turns == [("released", "latentd"), ("released", ON)]


def test_settings_that_are_close_both_stay():
    _, row = timed({"latentd": [30, 30, 30], ON: [20, 20, 20], OFF: [16, 30, 30]})
    assert row.peer() == OFF and row.ratios() == pytest.approx([30 / 16, 1, 1])


def test_every_setting_can_stay():
    _, row = timed({"latentd": [30, 30, 30], ON: [20, 20, 20], OFF: [10, 30, 30]}, every_setting=True)
    assert row.peer() == OFF


ABOUT = {"command": "bench/peers/run", "date": "today", "machine": "a machine", "threads": 2, "latentd": "latentd 1",
         "llama.cpp": "llama.cpp 2", "agreement": {"compared": 314, "mean": 0.0086, "max": 0.031}}


def test_the_report(tmp_path):
    _, row = timed({"latentd": [30, 31, 29], ON: [20, 10, 25], OFF: [15]})
    served = report.Row("HTTP, 1 client", "≥ 1.1", {"latentd": "ours", ON: "theirs"}, {"latentd": [8.0], ON: [4.0]},
                        {name: [dict(ttft_p50_ms=a, ttft_p99_ms=a + 1, itl_p50_ms=a + 2, itl_p99_ms=a + 3,
                                     generator_share=0.004)] for name, a in (("latentd", 10), (ON, 20))},
                        [0.99], [ROOFS])
    report.write(tmp_path / "peers-0.1", [row, served], ABOUT)
    text = (tmp_path / "peers-0.1.md").read_text()
    assert ("| decode | 1.50 [1.16, 3.10] | ≥ 1.0 | 30.0 [29.0, 31.0] | 50% | 20.0 [10.0, 25.0] "
            "| bf16, flash attention on | 97%, 97%, 97% | 40 [40, 40]; 0.50 [0.50, 0.50] |") in text
    assert "| HTTP, 1 client | 2.00 | ≥ 1.1 | 8.0 | – | 4.0 | bf16, flash attention on | 99% | 40; 0.50 |" in text
    assert f"| decode | {OFF} | 15.0 | 1 |" in text
    assert "| HTTP, 1 client | latentd | 10 | 11 | 12 | 13 | 0.4% |" in text
    assert f"| HTTP, 1 client | {ON} | 20 | 21 | 22 | 23 | 0.4% |" in text
    assert "- HTTP, 1 client\n  - `ours`\n  - `theirs`" in text and f"`'{OFF}'" not in text
    assert "Written by `bench/peers/run` on today: a machine, 2 threads.\nlatentd 1; llama.cpp 2." in text
    assert "at work" not in text and "load generator took" not in text
    assert json.loads((tmp_path / "peers-0.1.json").read_text())["rows"][0]["figures"]["latentd"] == [30, 31, 29]


def test_the_report_doubts_what_is_doubtful():
    _, row = timed({"latentd": [30], ON: [20]}, count=1)
    row.idle, row.details[ON] = [0.6], [{"generator_share": 0.2}]
    text = report.markdown([row], ABOUT)
    assert "**Others were at work on this machine" in text and "**The load generator took more than 5%" in text
