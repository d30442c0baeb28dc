"""latentd bench: every work asked for is in the report, and the figures fit together."""
import json
import statistics
import subprocess

import pytest

from conftest import BINARY, DEMO


def bench(*args):
    return subprocess.run([BINARY, "bench", *map(str, args)], capture_output=True, text=True, check=False)


@pytest.mark.sanitizer
def test_report():
    done = bench("--depth", "0,70", "--prefill", "9,33", "--batch", "1,3", "--thread-counts", "1,2",
                 "--repeat", "3", "--json", "--max-num-batched-tokens", "80")
    assert done.returncode == 0 and done.stderr == "", done
    report = json.loads(done.stdout)
    works = [(r["threads"], r["depth"], r["kind"], r["tokens"], r["batch"]) for r in report["rows"]]
    assert works == [(threads, depth, *work) for threads in (1, 2) for depth in (0, 70)
                     for work in [("prefill", 9, 1), ("prefill", 33, 1), ("decode", 1, 1),
                                  ("decode", 1, 3)]]
    roofs = {r["threads"]: r["rounds"] for r in report["roofs"]}
    assert {threads: len(rounds) for threads, rounds in roofs.items()} == {1: 6, 2: 6}
    for row in report["rows"]:
        seconds = statistics.median(row["seconds"])
        rounds = roofs[row["threads"]]
        memory = row["bytes"] / statistics.median(r["read_bytes_per_second"] for r in rounds)
        math = row["flops"] / statistics.median(r["flops_per_second"] for r in rounds)
        assert row["tokens_per_second"] == pytest.approx(row["tokens"] * row["batch"] / seconds)
        assert row["floor_seconds"] == pytest.approx(max(memory, math))
        assert row["bound"] == ("memory" if memory > math else "arithmetic")
        assert row["share_of_roof"] == pytest.approx(max(memory, math) / seconds)
        assert len(row["seconds"]) == len(row["processor_seconds"]) == 3
        assert row["expert_runs"] == 0  # the demo model is dense


def test_table_and_random_latents():
    done = bench("--depth", "65", "--synthetic-cache", "--prefill", "2", "--repeat", "1")
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert "random latents" in lines[1] and lines[2].startswith("roofs, ")
    assert [line.split()[:2] for line in lines[4:]] == [["prefill", "2"], ["decode", "x1"]]


def test_widths_and_random_weights():
    done = bench("--width", "16,8", "--width", "96,64", "--depth", "64", "--prefill", "8",
                 "--batch", "4", "--repeat", "1", "--json")
    rows = json.loads(done.stdout)["rows"]
    assert [(r["width"], r["kind"]) for r in rows] == [
        ({"q": q, "kv": kv}, kind) for q, kv in ((16, 8), (96, 64)) for kind in ("prefill", "decode")]
    assert rows[1]["bytes"] < rows[3]["bytes"] and rows[1]["flops"] < rows[3]["flops"]
    stored = json.loads(bench("--prefill", "8", "--repeat", "1", "--json").stdout)
    random = bench("--random-weights", DEMO / "config.json", "--prefill", "8", "--repeat", "1", "--json")
    assert random.returncode == 0, random
    random = json.loads(random.stdout)
    assert [r["bytes"] for r in random["rows"]] == [r["bytes"] for r in stored["rows"]]
    assert "random" in random["model"]


def test_decode_at_256k(tmp_path):
    config = json.loads((DEMO / "config.json").read_text())
    config["max_position_embeddings"] = 2**18 + 64
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = bench("--random-weights", tmp_path / "config.json", "--synthetic-cache", "--depth", 2**18,
                 "--prefill", "1", "--batch", "1", "--repeat", "1", "--json")
    assert done.returncode == 0, done
    rows = json.loads(done.stdout)["rows"]
    assert [(r["kind"], r["depth"]) for r in rows] == [("prefill", 2**18), ("decode", 2**18)]
    for row in rows:  # it reads every latent of every layer, bf16
        latents = 2**18 * config["num_hidden_layers"] * 2 * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
        assert row["bytes"] > latents and row["tokens_per_second"] > 0


@pytest.mark.parametrize("args, status, said", [
    (["--width", "17,8"], 1, "17,8"),
    (["--width", "wide"], 2, "--width"),
    (["--random-weights", "/no/such.json"], 1, "/no/such.json"),
    (["--depth", "1000", "--prefill", "100"], 1, "1100 tokens, beyond the model's 1024"),
    (["--thread-counts", "1,1025"], 2, "--thread-counts"),
    (["--batch", "0"], 2, "--batch"),
    (["--depth", "-1"], 2, "--depth"),
    (["--depth", "0,,1"], 2, "--depth: needs numbers from 0 to 16777216, joined by commas, not '0,,1'"),
    (["--random-weights", DEMO / "config.json", "--model", DEMO], 2, "leave --model out"),
    (["--random-weights", DEMO / "tokenizer.json"], 1, "tokenizer.json: "),
    (["--repeat", "0"], 2, "--repeat"),
    (["--model", "/no/such/folder"], 1, "/no/such/folder"),
])
def test_refused(args, status, said):
    done = bench(*args)
    assert done.returncode == status and done.stdout == "", done
    assert said in done.stderr and done.stderr.count("\n") == 1
