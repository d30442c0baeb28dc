"""scripts/gpu-check: what it calls green, what it names as missing, and that a second run goes on where the first ended.
The machine's programs are played; the comparisons run once over the real program, whose CPU stands in for both devices."""
import json
import sys

import pytest

from conftest import BINARY, ROOT
from gpu_fakes import Machine

sys.path.insert(0, str(ROOT / "tools"))
from gpu import steps  # noqa: E402

SUITE = "print('All tests passed (9 assertions in 2 test cases)')"
SANITIZER = "print('========= ERROR SUMMARY: 0 errors')"
LATENTD = """
cuda = argv[argv.index("--device") + 1] == "cuda"
if argv[0] == "generate": print(GENERATED if cuda else "and so on")
else:
    print("log-likelihood", RELAXED if "relaxed" in argv else SCORED if cuda else -1000.0)
    print("perplexity 2.718282\\ntokens 1000 scored of 1000, window 512, stride 512, windows 2")
    print("logits hash", FINE if "65" in argv else "0123")
"""


def played_latentd(generated="and so on", scored=-1000.5, fine="0123", relaxed=-1000.5):
    values = f"GENERATED, SCORED, FINE, RELAXED = {generated!r}, float('{scored}'), {fine!r}, {relaxed}"
    return values + LATENTD


@pytest.fixture
def machine(tmp_path):
    """One on which everything is there and passes."""
    made = Machine(tmp_path)
    made.play_device()
    made.play("cuda_one_device_test", SUITE)
    made.play("cuda_two_device_test", SUITE)
    made.play("latentd", played_latentd())
    made.play("compute-sanitizer", SANITIZER, made.tools)
    return made


def rows(done):
    """{step: result} of the table."""
    cells = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    return {row[1].strip(): row[2].strip() for row in cells[1:]}


def test_green(machine):
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 0 and "\n\ngreen\n" in done.stdout, done
    assert list(rows(done)) == [
        "suite cuda_one_device_test", "suite cuda_two_device_test", "generate, cuda against cpu",
        "score, cuda against cpu", "score --hash, equal bits",
        "score, cuda relaxed against cpu", "memcheck cuda_one_device_test", "memcheck cuda_two_device_test", "racecheck cuda_one_device_test", "racecheck cuda_two_device_test",
        "synccheck cuda_one_device_test", "synccheck cuda_two_device_test"]
    assert set(rows(done).values()) == {"passed"}
    sanitized = [call for call in machine.called() if call.startswith("compute-sanitizer")]
    assert sanitized[0].startswith("compute-sanitizer --tool memcheck --error-exitcode 99 ")
    assert all(call.endswith(" [small] -w NoTests") for call in sanitized)
    result = machine.result("gpu-check")
    assert result["verdict"] == "green" and result["device"]["name"] == "NVIDIA H200"
    assert result["revision"] == "unknown"  # of programs that nobody noted it beside
    assert [step["result"] for step in result["steps"]] == ["passed"] * 12
    page = (machine.folder / "out/gpu-check.md").read_text()
    assert "| suite cuda_one_device_test" in page and "- command: `gpu-check --out" in page


def test_what_passed_is_not_run_again(machine):
    machine.play("cuda_two_device_test", "print('1 test case failed'); sys.exit(3)")
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 1 and "not green: suite cuda_two_device_test failed" in done.stdout, done
    assert rows(done)["suite cuda_two_device_test"] == "failed"
    assert "exit status 3: 1 test case failed" in done.stdout
    assert machine.run("scripts/gpu-check").returncode == 1  # what failed is tried again
    assert machine.called() == ["latentd_gpu_bench --describe", "cuda_two_device_test"]
    machine.play("cuda_two_device_test", SUITE)
    assert machine.run("scripts/gpu-check").returncode == 0
    names = {call.split()[0] for call in machine.called()}
    assert "cuda_two_device_test" in names and not {"cuda_one_device_test", "latentd"} & names
    assert machine.run("scripts/gpu-check").returncode == 0
    assert machine.called() == ["latentd_gpu_bench --describe"]
    machine.play("cuda_one_device_test", SUITE + "  # other bytes, of which nothing is known")
    assert machine.run("scripts/gpu-check").returncode == 0
    names = [call.split()[0] for call in machine.called()]
    assert names == ["latentd_gpu_bench", "cuda_one_device_test"] + ["compute-sanitizer"] * 3
    assert machine.run("scripts/gpu-check", "--fresh").returncode == 0
    assert len(machine.called()) > 10


SUITE_IN_STATE = "suite cuda_one_device_test"


@pytest.mark.parametrize("kept", ["{", "[1]", {SUITE_IN_STATE: 5}, {SUITE_IN_STATE: {"key": "k"}},
                                  {SUITE_IN_STATE: {"outcome": {"result": "passed"}}},
                                  {SUITE_IN_STATE: {"key": "k", "outcome": {"better": 1}}}])
def test_a_damaged_state_is_forgotten(machine, kept):
    (machine.folder / "state.json").write_text(kept if isinstance(kept, str) else json.dumps(kept))
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 0 and "state.json is no state of such a run: it is forgotten" in done.stdout, done
    assert len(machine.called()) > 10


def test_no_device(machine):
    machine.play("latentd_gpu_bench", "sys.exit(77)")
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 77, done
    assert done.stdout == "gpu-check: no device of compute capability 9.0: nothing was run\n"
    assert machine.called() == ["latentd_gpu_bench --describe"]


def test_no_programs(machine):
    (machine.bin / "latentd_gpu_bench").unlink()
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 1 and "holds no latentd_gpu_bench" in done.stdout, done


def test_without_the_sanitizer(machine):
    (machine.tools / "compute-sanitizer").unlink()
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 0 and "\n\ngreen without the sanitizer\n" in done.stdout, done
    assert rows(done)["racecheck cuda_one_device_test"] == "not there"


@pytest.mark.parametrize("body, status, result", [
    ("print('========= Error: Race reported\\n========= ERROR SUMMARY: 1 error'); sys.exit(99)", 1, "failed"),
    ("print('========= Error: Target application terminated'); sys.exit(1)", 1, "failed"),
    ("print('========= Error: Device not supported'); sys.exit(1)", 0, "not there"),
])
def test_what_the_sanitizer_says(machine, body, status, result):
    machine.play("compute-sanitizer", body, machine.tools)
    done = machine.run("scripts/gpu-check")
    assert done.returncode == status and rows(done)["synccheck cuda_two_device_test"] == result, done


@pytest.mark.parametrize("status, sentence", [(2, "--device: cuda is not built."),
                                              (1, "--device cuda: this build has no CUDA: build with it")])
def test_a_latentd_without_cuda(machine, status, sentence):
    machine.play("latentd", f"print('latentd: {sentence}', file=sys.stderr); sys.exit({status})")
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 0 and "\n\ngreen without latentd --device cuda\n" in done.stdout, done
    assert f"this latentd has no --device cuda: exit status {status}: latentd: {sentence}" in done.stdout


def test_without_cublaslt(machine):
    sentence = "--determinism relaxed with --device cuda needs cuBLASLt, which cannot be used (no such file): …"
    machine.play("latentd", f"if 'relaxed' in argv: sys.exit({'latentd: ' + sentence!r})\n" + played_latentd())
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 0 and "\n\ngreen without cuBLASLt\n" in done.stdout, done
    assert rows(done)["score, cuda relaxed against cpu"] == "not there" and sentence in done.stdout


@pytest.mark.parametrize("place, says", [("packages/nvidia/cu13/lib", "nvidia-cublas 13.1.2"),
                                         ("tools/lib64", "a toolkit's"), (None, "the loader's, if it knows one")])
def test_cublaslt_that_the_loader_would_not_find(machine, monkeypatch, place, says):
    monkeypatch.setenv("PYTHONPATH", str(machine.folder / "packages"))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/told/before")
    (machine.folder / "packages/nvidia_cublas-13.1.2.dist-info").mkdir(parents=True)
    (machine.folder / "packages/nvidia_cublas-13.1.2.dist-info/METADATA").write_text("Name: nvidia-cublas\nVersion: 13.1.2\n")
    folders = ["/told/before"]
    if place:
        (machine.folder / place).mkdir(parents=True)
        (machine.folder / place / "libcublasLt.so.13").write_text("")
        folders.append(str(machine.folder / place))
    machine.play("latentd", f"assert os.environ['LD_LIBRARY_PATH'] == {':'.join(folders)!r}\n" + played_latentd())
    assert machine.run("scripts/gpu-check").returncode == 0
    assert machine.result("gpu-check")["device"]["cublas"] == says


@pytest.mark.parametrize("played, step", [
    ({"generated": "and so off"}, "generate, cuda against cpu"),
    ({"scored": -1009.0}, "score, cuda against cpu"),  # 0.009 a token, where 0.0086 may be
    ({"scored": float("nan")}, "score, cuda against cpu"),
    ({"fine": "4567"}, "score --hash, equal bits"),
    ({"relaxed": -1009.0}, "score, cuda relaxed against cpu"),
])
def test_a_wrong_answer_fails(machine, played, step):
    machine.play("latentd", played_latentd(**played))
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 1, done
    assert [name for name, result in rows(done).items() if result == "failed"] == [step]


def test_out_of_time(machine):
    done = machine.run("scripts/gpu-check", "--seconds", 0)
    assert done.returncode == 1 and "not done: out of time" in done.stdout, done
    assert set(rows(done).values()) == {"not run"}
    assert machine.called() == ["latentd_gpu_bench --describe"]


def test_over_the_real_program(machine):
    machine.play("latentd", f"os.execv({BINARY!r}, ['latentd', *('cpu' if a == 'cuda' else a for a in argv)])")
    done = machine.run("scripts/gpu-check")
    assert done.returncode == 0 and set(rows(done).values()) == {"passed"}, done
    scores = machine.result("gpu-check")["steps"][3]["data"]
    assert scores["cuda"] == scores["cpu"] and scores["cpu"]["scored"] > 1000


def test_a_program_is_stopped_with_its_children():
    ended = steps.run_program(["sh", "-c", "sleep 1000 & wait"], 0)  # the child holds the pipe open
    assert ended.status is None and ended.why() == "stopped at its time limit"


class Clock:
    """Time that passes only when a step says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_limits_and_budget(tmp_path):
    clock, limits = Clock(), []

    def step(name, takes, result):
        def run(limit):
            limits.append(limit)
            clock.now += min(takes, limit)
            return steps.Outcome(result)
        return steps.Step(name, 60, run)
    done = steps.run_steps([step("one", 50, steps.PASSED), step("two", 70, steps.FAILED),
                            step("cut", 40, steps.FAILED), step("none", 1, steps.PASSED)],
                           steps.Memory(tmp_path / "state", False), 140, say=lambda line: None, clock=clock)
    assert limits == [60, 60, 30]
    # The budget, not the step's own limit, ended the third.
    assert [outcome.result for _, outcome in done] == ["passed", "failed", "not run", "not run"]
    assert [outcome.seconds for _, outcome in done] == [50, 60, 30, 0]
