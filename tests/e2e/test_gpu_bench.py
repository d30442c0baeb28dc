"""bench/gpu/run: what it makes of measured rows. latentd_gpu_bench is played, so that its times are known."""
import json
import re
import sys

import pytest

from conftest import BINARY, ROOT
from gpu_fakes import Machine

sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "bench/gpu")]
import judging  # noqa: E402
import whole_model  # noqa: E402

CEILING = {"copy_bytes_per_second": 4e12, "read_bytes_per_second": 4.4e12, "flops_per_second": 8e14}


def case(seconds, batch=64, context=32768, query_tokens=1, num_heads=16, floor_bytes=2e9, floor_flops=1e11):
    return {"batch": batch, "context": context, "query_tokens": query_tokens, "num_heads": num_heads,
            "num_kv_groups": 0, "floor_bytes": floor_bytes, "floor_flops": floor_flops, "median_seconds": seconds[1],
            "p10_seconds": seconds[0], "p90_seconds": seconds[2], "seconds": seconds}


def report(name, *cases, device="NVIDIA H200"):
    slower = {key: value / 2 for key, value in CEILING.items()}  # the mean of both is the ceiling
    faster = {key: value * 3 / 2 for key, value in CEILING.items()}
    return {"row": name, "device": device, "ceilings": [slower, faster], "cases": list(cases)}


@pytest.mark.parametrize("made, measured, goal, verdict", [
    # 2e9 bytes at 4e12 a second are 500 us: 89.3 % of it in 560 us, 87.7 % in 570.
    (report("m", case([1e-6, 560e-6, 1])), "560.0 us (p10 1.0, p90 1000000.0), 89 % of copy, 22 % of matrix rate",
     ">= 88 % of copy", "met"),
    (report("m", case([1e-6, 570e-6, 1])), "570.0 us", ">= 88 % of copy", "missed"),
    # 1e11 FLOP at 8e14 a second are 125 us.
    (report("f", case([1e-6, 146e-6, 1], num_heads=128)), "86 % of matrix", ">= 85 % of matrix rate", "met"),
    (report("f", case([1e-6, 149e-6, 1], query_tokens=8)), "84 % of matrix", ">= 85 % of matrix rate", "missed"),
    (report("s", case([1e-6, 24.9e-6, 1], batch=1)), "24.9 us", "<= 25 us on H200", "met"),
    (report("s", case([1e-6, 25.1e-6, 1], batch=1)), "25.1 us", "<= 25 us on H200", "missed"),
    (report("s", case([1e-6, 34e-6, 1], batch=1), device="NVIDIA H100 80GB HBM3"), "34.0 us", "<= 35 us on H100", "met"),
    (report("s", case([1e-6, 34e-6, 1], batch=1), device="NVIDIA GH200"), "34.0 us", "<= 25 us on H200", "missed"),
    (report("a", case([1e-6, 34e-6, 1], batch=4)), "34.0 us", "-", "-"),
])
def test_goals(made, measured, goal, verdict):
    line = judging.judge(made)
    assert measured in line[1] and line[2:] == [goal, verdict], line


def test_key_norm_is_the_median_of_the_pairs():
    # The medians of the two are 6 % apart, their pairs 2 %: the machine drifted, both alike.
    off = case([1.0, 1.5, 2.0], batch=4, context=4096)
    on = case([1.02, 1.59, 2.0], batch=4, context=4096) | {"num_kv_groups": 16}
    line = judging.judge(report("k", off, on))
    assert line[1].startswith("+2.00 %") and "published: 1.41 %" in line[2], line


@pytest.mark.parametrize("groups, percent, goal, verdict", [
    (1, 0.99, "<= 1 % (", "met"), (1, 1.01, "<= 1 % (", "missed"),
    (4, 1.99, "<= 2 % (", "met"), (4, 2.01, "<= 2 % (", "missed"),
    # 16 alphas of 4 bytes beside rows of 576 bf16: 5.556 %.
    (16, 6.55, "<= 6.56 % (", "met"), (16, 6.57, "<= 6.56 % (", "missed"),
])
def test_key_norm_has_a_goal_for_each_number_of_groups(groups, percent, goal, verdict):
    times = [1.0, 2.0, 3.0]
    on = case([time * (1 + percent / 100) for time in times], batch=4) | {"num_kv_groups": groups}
    line = judging.judge(report("k", case(times, batch=4), on))
    assert line[2].startswith(goal) and line[3] == verdict, line


def test_pairs_are_compared_without_a_goal():
    line = judging.judge(report("p", case([1.0, 1.5, 2.0], num_heads=128), case([0.9, 1.35, 1.6], num_heads=128)))
    assert line == ["p", "-10.00 % (1500000.0 -> 1350000.0 us)", "-", "-"], line


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    made.play_device({"large": report("large", case([1e-6, 560e-6, 1])),
                      "small": report("small", case([1e-6, 30e-6, 1], batch=1))})
    return made


def test_table_and_resumption(machine):
    done = machine.run("bench/gpu/run")
    assert done.returncode == 0 and "\n\n1 of 2 goals met\n" in done.stdout, done
    table = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in done.stdout.splitlines()
             if line.startswith("| ")}
    assert table == {"Row": "", "large": "met", "small": "missed", "layer with projections, 16 rows, batch 4": "-",
                     "step of Youtu-2B's shape": "-", "step of Youtu-2B's shape, relaxed": "-", "FlashMLA": "-", "FlashInfer": "-"}
    assert done.stdout.count("not built") == 2 and "holds no latentd" in done.stdout
    kept = {step["name"]: step for step in machine.result("gpu-bench")["steps"]}["large"]
    assert kept["data"]["report"]["cases"][0]["median_seconds"] == 560e-6
    assert machine.run("bench/gpu/run").returncode == 0
    assert machine.called() == ["latentd_gpu_bench --describe", "latentd_gpu_bench --list"]


def test_rows_with_goals_come_first(machine):
    """Of the real rows, whose names stand in their table."""
    names = re.findall(r'^ {6}\{"([^"]+)"', (ROOT / "bench/gpu/rows.cc").read_text(), re.M)
    machine.play_device({name: {} for name in names})
    machine.play("latentd_gpu_peer_flashmla", "print('decode 1 x 64k, 16 rows')")
    done = machine.run("bench/gpu/run", "--seconds", 0)
    order = list(table_of(done))[:-1]  # without the line of a peer that is not there
    begin = {"decode": 4, "key norm": 12, "decode 1 x 64k, 16 rows, beside FlashMLA": 1, "layer with projections": 1,
             "step of Youtu-2B's shape": 2, "": 6}
    expected = [start for start, count in begin.items() for _ in range(count)]
    assert len(order) == len(expected) and all(map(str.startswith, order, expected)), order
    assert "decode 1 x 64k, 16 rows" in order[:4], order
    assert not [name for name in order[-6:] if name.startswith(("decode", "key norm"))], order


BENCH = """
if "--json" not in argv: sys.exit(1)
config = json.loads(pathlib.Path(argv[argv.index("--random-weights") + 1]).read_text())
depths, batches = ([int(n) for n in argv[argv.index(flag) + 1].split(",")] for flag in ("--depth", "--batch"))
layers = config["num_hidden_layers"]
if "relaxed" in argv: layers /= 2
rows = [dict(kind="prefill", depth=depth, batch=1, seconds=[1], bytes=0) for depth in depths]
rows += [dict(kind="decode", depth=depth, batch=batch, bytes=4e9, seconds=[0.5e-3 + 2e-3 * layers] * 3)
         for depth in depths for batch in batches]
print(json.dumps(dict(rows=rows)))
"""


def test_rows_of_whole_models(machine):
    machine.play("latentd", BENCH)
    done = machine.run("bench/gpu/run")
    assert done.returncode == 0, done
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()
             if line.startswith("| layer") or line.startswith("| step")]
    assert lines == [
        ["layer with projections, 4 x 4k", "2.000 ms", "<= 1.715 ms (published: 1.715 ms on H800)", "missed"],
        ["layer with projections, 4 x 32k", "2.000 ms", "<= 2.486 ms (published: 2.486 ms on H800)", "met"],
        ["layer with projections, 4 x 128k", "2.000 ms", "<= 5.427 ms (published: 5.427 ms on H800)", "met"],
        ["layer with projections, 4 x 256k", "2.000 ms", "<= 1.308 ms (published: 13.082 ms on H800)", "missed"],
        # 32 layers: 64.5 ms; 4e9 bytes at 4e12 a second: 1 ms.
        *([f"step of Youtu-2B's shape, {batch} x 4k", "64.50 ms, 2 % of its bytes at copy bandwidth",
           "<= 1.15 ms (floor 1.00 ms)", "missed"] for batch in (1, 64)),
        *([f"step of Youtu-2B's shape, relaxed, {batch} x 4k", "32.50 ms, 3 % of its bytes at copy bandwidth",
           "<= 1.15 ms (floor 1.00 ms)", "missed"] for batch in (1, 64))]
    assert "\n\n3 of 10 goals met\n" in done.stdout  # one of the kernel's two rows


@pytest.mark.parametrize("layer_ms, verdict", [(1.308, "met"), (1.309, "missed")])
def test_a_layer_at_256k_is_ten_times_below_the_published_time(machine, layer_ms, verdict):
    latentd = machine.play("latentd", BENCH.replace("2e-3", str(layer_ms / 1e3)))
    lines = whole_model.measure_layers(latentd, 60).data["lines"]
    assert [line[3] for line in lines] == ["met", "met", "met", verdict], lines


@pytest.mark.parametrize("step_ms, verdict", [(1.149, "met"), (1.151, "missed")])
def test_a_step_is_near_the_time_of_its_bytes(machine, step_ms, verdict):
    latentd = machine.play("latentd", BENCH.replace("0.5e-3 + 2e-3 * layers", str(step_ms / 1e3)))
    lines = whole_model.measure_server_step(latentd, machine.bin / "latentd_gpu_bench", 60).data["lines"]
    assert [line[3] for line in lines] == [verdict] * 2, lines


def beside(row, ours, theirs):
    return {"row": row, "device": "NVIDIA H200", "peer": "FlashInfer 1.2", "worst_difference": 0.001,
            "cases": [case(ours), case(theirs)]}


@pytest.mark.parametrize("ours, theirs, measured, verdict", [
    # Ratios 0.8, 0.9 and 0.5: the medians' own ratio would be 0.75.
    ([80e-6, 90e-6, 60e-6], [100e-6, 100e-6, 120e-6],
     "0.800 of its time (0.500 to 0.900), 20.0 % ahead: 90.0 us, it 100.0 us", "met"),
    ([1e-3, 1.05e-3, 2e-3], [1e-3, 1e-3, 1e-3],
     "1.050 of its time (1.000 to 2.000), 5.0 % behind: 1050.0 us, it 1000.0 us", "missed"),
    ([1e-3] * 3, [1e-3] * 3, "1.000 of its time (1.000 to 1.000), 0.0 % behind: 1000.0 us, it 1000.0 us", "missed"),
])
def test_a_peer_is_judged_round_by_round(ours, theirs, measured, verdict):
    assert judging.judge_peer(beside("large", ours, theirs), "FlashInfer") == [
        "large, beside FlashInfer", measured, "ahead of FlashInfer 1.2", verdict]


def table_of(done):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}


def test_peers_take_their_rows(machine):
    rows = {"large": beside("large", [1e-3] * 3, [2e-3] * 3), "small": beside("small", [3e-3] * 3, [2e-3] * 3)}
    machine.play("latentd_gpu_peer_flashinfer", f"""
rows = {rows!r}
if argv == ["--list"]: print(chr(10).join(rows))
elif argv[0] == "--row": print(json.dumps(rows[argv[1]]))
""")
    done = machine.run("bench/gpu/run")
    table = table_of(done)
    # Of the two rows of ours one meets its goal, and of the two beside the peer too.
    assert done.returncode == 0 and "\n\n2 of 4 goals met\n" in done.stdout, done
    assert table["large, beside FlashInfer"][0].startswith("0.500 of its time") and table["large, beside FlashInfer"][2] == "met"
    assert table["small, beside FlashInfer"][0].startswith("1.500 of its time") and table["small, beside FlashInfer"][2] == "missed"
    assert table["FlashMLA"] == ["not built: bench/gpu/peers/build makes its program", "-", "-"]
    assert "FlashInfer" not in table
    order = list(table)
    assert order.index("small, beside FlashInfer") < order.index("layer with projections, 16 rows, batch 4")
    kept = {step["name"]: step for step in machine.result("gpu-bench")["steps"]}["small, beside FlashInfer"]
    assert kept["data"]["report"]["worst_difference"] == 0.001
    machine.run("bench/gpu/run")  # measured rows are remembered
    assert "latentd_gpu_peer_flashinfer --row large" not in machine.called()


def test_a_peer_that_refuses_fails_or_does_not_list_is_named(machine):
    machine.play("latentd_gpu_peer_flashmla", """
if argv == ["--list"]: print("large\\nsmall\\nhuge")
elif argv[1] == "large": print("FlashMLA refuses: no such heads", file=sys.stderr); sys.exit(3)
elif argv[1] == "huge": sys.exit("huge: needs 9 bytes of device memory, 8 are free")
else: sys.exit("FlashMLA: the peer's attention is wrong, context 30: row 1, lane 2 is 3, expected 4")
""")
    machine.play("latentd_gpu_peer_flashinfer", "sys.exit('cannot start')")
    done = machine.run("bench/gpu/run")
    table = table_of(done)
    assert table["large, beside FlashMLA"][:2] == ["not there", "exit status 3: FlashMLA refuses: no such heads"]
    assert table["huge, beside FlashMLA"][:2] == [
        "not there", "exit status 1: huge: needs 9 bytes of device memory, 8 are free"]
    assert table["small, beside FlashMLA"][0] == "failed" and "is wrong, context 30" in table["small, beside FlashMLA"][1]
    assert table["FlashInfer"][0] == "failed" and "cannot start" in table["FlashInfer"][1]
    assert done.returncode == 1 and "not complete" in done.stdout, done


def test_a_row_that_does_not_fit_is_named(machine):
    machine.play("latentd_gpu_bench", f"""
if argv == ["--describe"]: print(json.dumps(dict(name="H100", driver=1)))
elif argv == ["--list"]: print("huge\\nbroken")
elif argv[1] == "huge": sys.exit("huge: needs 9 bytes of device memory, 8 are free")
else: sys.exit("CHECK failed")
""")
    done = machine.run("bench/gpu/run")
    assert done.returncode == 1 and "not complete" in done.stdout, done
    results = {step["name"]: step["result"] for step in machine.result("gpu-bench")["steps"]}
    assert results["huge"] == "not there" and results["broken"] == "failed"
    assert "huge: needs 9 bytes of device memory, 8 are free" in done.stdout


def test_no_device(machine):
    machine.play("latentd_gpu_bench", "sys.exit(77)")
    done = machine.run("bench/gpu/run")
    assert done.returncode == 77, done
    assert done.stdout == "bench/gpu/run: no device of compute capability 9.0: nothing was run\n"


@pytest.mark.parametrize("name", ["layer.json", "youtu-2b.json"])
def test_configurations_over_the_real_program(machine, name, tmp_path):
    """A layer of each on the CPU, which stands in for the device."""
    latentd = machine.play("latentd", f"os.execv({BINARY!r}, ['latentd', *('cpu' if a == 'cuda' else a for a in argv)])")
    config = json.loads((ROOT / "bench/gpu" / name).read_text())
    assert config["num_attention_heads"] == 16 and config["max_position_embeddings"] > 4096
    (tmp_path / "one.json").write_text(json.dumps(config | {"num_hidden_layers": 1, "vocab_size": 512}))
    rows = whole_model.bench(latentd, tmp_path / "one.json", [64], [1, 4], 120)
    assert set(rows) == {(64, 1), (64, 4)} and all(len(row["seconds"]) == 7 for row in rows.values())
    assert rows[64, 4]["bytes"] > rows[64, 1]["bytes"] > 0
