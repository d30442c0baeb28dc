"""latentd bench --device cuda, over the emulated device: the CPU's report, with the device's own roofs."""
import json
import pathlib
import statistics
import subprocess
import sys

import pytest

from conftest import BINARY, DEMO, ROOT
from gpu_fakes import Machine

sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "bench/gpu")]
import whole_model  # noqa: E402

GOLDEN = ROOT / "tests/golden"
EMULATED = pathlib.Path(BINARY).with_name("latentd_emulated")
SMALL = {"hidden_size": 32, "q_lora_rank": 16, "kv_lora_rank": 64, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
         "v_head_dim": 8, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 32, "intermediate_size": 32}


def bench(*args, binary=EMULATED):
    return subprocess.run([binary, "bench", "--device", "cuda", *map(str, args)], capture_output=True, text=True,
                          check=False)


def rows_of(done):
    assert done.returncode == 0 and done.stderr == "", done
    return json.loads(done.stdout)


@pytest.mark.parametrize("cache", [[], ["--synthetic-cache"]])
def test_report(cache):
    report = rows_of(bench("--random-weights", GOLDEN / "tiny-youtu/config.json", "--depth", "0,70", "--prefill", "3",
                           "--batch", "1,3", "--repeat", "2", "--json", *cache))
    assert report["machine"] == "emulated" and report["build"].endswith(", cuda") and "cpu" not in report["build"]
    assert [(r["threads"], r["depth"], r["kind"], r["tokens"], r["batch"]) for r in report["rows"]] == [
        (None, depth, *work) for depth in (0, 70)
        for work in [("prefill", 3, 1), ("decode", 1, 1), ("decode", 1, 3)]]
    [roofs] = report["roofs"]
    assert roofs["threads"] is None and len(roofs["rounds"]) == 4
    on_cpu = rows_of(subprocess.run(
        [BINARY, "bench", "--random-weights", GOLDEN / "tiny-youtu/config.json", "--depth", "0,70", "--prefill", "3",
         "--batch", "1,3", "--repeat", "1", "--json", *cache], capture_output=True, text=True, check=False))
    for row, other in zip(report["rows"], on_cpu["rows"], strict=True):
        seconds = statistics.median(row["seconds"])
        memory = row["bytes"] / statistics.median(r["read_bytes_per_second"] for r in roofs["rounds"])
        math = row["flops"] / statistics.median(r["flops_per_second"] for r in roofs["rounds"])
        assert row["floor_seconds"] == pytest.approx(max(memory, math))
        assert row["share_of_roof"] == pytest.approx(max(memory, math) / seconds)
        assert (row["bytes"], row["flops"]) == (other["bytes"], other["flops"])


def test_table():
    done = bench("--model", GOLDEN / "tiny-deepseek-v3", "--depth", "65", "--synthetic-cache", "--prefill", "2",
                 "--repeat", "1")
    assert done.returncode == 0 and done.stderr == "", done
    lines = done.stdout.splitlines()
    assert lines[0] == "emulated" and "cuda, model tiny-deepseek-v3, cache filled with random latents" in lines[1]
    assert lines[2].startswith("roofs, the device: reads ")
    assert lines[3] == "experts: the least that a step can read, since the device counts none"
    # One token's: four experts in each of two layers. The fifth column has no threads.
    assert [(line.split()[:2], line.split()[4]) for line in lines[5:]] == [
        (["prefill", "2"], "-"), (["decode", "x1"], "-")]


def test_widths_and_copies_of_weights():
    report = rows_of(bench("--model", GOLDEN / "tiny-elastic-blockwise", "--width", "64,128", "--width", "31,65",
                           "--weights", "int8", "--depth", "64", "--prefill", "2", "--repeat", "1", "--json"))
    assert "int8 weights" in report["build"] and "relaxed" not in report["build"]
    assert [(r["width"], r["kind"]) for r in report["rows"]] == [
        ({"q": q, "kv": kv}, kind) for q, kv in ((64, 128), (31, 65)) for kind in ("prefill", "decode")]


@pytest.mark.parametrize("binary", [EMULATED, BINARY])
def test_relaxed(binary):
    device = ["--device", "cpu"] if binary == BINARY else []  # the last one given counts
    # A chunk that takes the expanded route on either.
    report = rows_of(bench("--model", GOLDEN / "tiny-youtu", "--determinism", "relaxed", "--depth", "64", "--prefill",
                           "192", "--repeat", "1", "--json", *device, binary=binary))
    assert report["build"].endswith(", relaxed") and len(report["rows"]) == 2


@pytest.mark.parametrize("args, status, said", [
    (["--cpu-path", "scalar"], 2, "--cpu-path needs --device cpu"),
    (["--thread-counts", "1,2"], 2, "--thread-counts needs --device cpu"),
    (["--cache-format", "int8"], 2, "--cache-format int8 needs --device cpu"),
    (["--width", "17,8"], 1, "17,8"),
    (["--depth", "1000", "--prefill", "100"], 1, "1100 tokens, beyond the model's 1024"),
    (["--depth", "900", "--batch", "4096", "--prefill", "1"], 1, "are free on the device"),
])
def test_refused(args, status, said):
    done = bench("--model", DEMO, *args)
    assert done.returncode == status and done.stdout == "", done
    assert said in done.stderr and done.stderr.count("\n") == 1


def test_a_build_without_kernels_says_so():
    done = bench(binary=BINARY)
    assert done.returncode == 1 and done.stdout == "", done
    assert done.stderr == ("latentd: --device cuda: this build has no CUDA: build with -DLATENTD_CUDA=ON, "
                           "or use --device cpu\n")


def test_the_rows_of_bench_gpu_run(tmp_path, monkeypatch):
    """Its own commands, over small shapes and depths."""
    for name in ("layer.json", "youtu-2b.json"):
        config = json.loads((ROOT / "bench/gpu" / name).read_text())
        (tmp_path / name).write_text(json.dumps(config | SMALL | {"num_hidden_layers": 1}))
    monkeypatch.setattr(whole_model, "HERE", tmp_path)
    monkeypatch.setattr(whole_model, "PUBLISHED_LAYER_MS", {64: 0, 128: 0})
    monkeypatch.setattr(whole_model, "SERVER_DEPTH", 64)
    monkeypatch.setattr(whole_model, "SERVER_BATCHES", [1, 3])
    layers = whole_model.measure_layers(EMULATED, 240)
    assert layers.result == "passed" and len(layers.data["lines"]) == 2, layers
    machine = Machine(tmp_path)
    machine.play_device()
    step = whole_model.measure_server_step(EMULATED, machine.bin / "latentd_gpu_bench", 240)
    assert step.result == "passed", step
    assert [line[0] for line in step.data["lines"]] == ["step of Youtu-2B's shape, 1 x 0k",
                                                        "step of Youtu-2B's shape, 3 x 0k"]
    relaxed = whole_model.measure_server_step(EMULATED, machine.bin / "latentd_gpu_bench", 240, "r",
                                              ["--determinism", "relaxed"])
    assert [line[0] for line in relaxed.data["lines"]] == ["r, 1 x 0k", "r, 3 x 0k"], relaxed


@pytest.mark.parametrize("binary, args, said", [(BINARY, ["[64]", "[1]"], "this build has no CUDA"),
                                                (EMULATED, ["[4096]", "[3000]"], "are free on the device")])
def test_what_a_machine_lacks_is_named_by_the_rows(binary, args, said, tmp_path):
    config = json.loads((ROOT / "bench/gpu/layer.json").read_text())
    (tmp_path / "one.json").write_text(json.dumps(config | SMALL))
    with pytest.raises(whole_model.Stopped) as stopped:
        whole_model.bench(binary, tmp_path / "one.json", *map(json.loads, args), 240)
    assert stopped.value.outcome.result == "not there" and said in stopped.value.outcome.note
