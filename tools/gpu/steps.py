"""Named steps, each within its time; what was settled is remembered, so that a second run goes on.

Python's standard library alone: a machine with a GPU may have nothing else.
"""
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import time

PASSED, FAILED, MISSING, NOT_RUN = "passed", "failed", "not there", "not run"
TAIL = 1500  # characters of a failed program's output that are kept


@dataclasses.dataclass
class Outcome:
    """result: PASSED; FAILED; MISSING, the machine or the build lacks what the step needs (data["lacks"] names it);
    or NOT_RUN. data["output"]: what a failed program said."""
    result: str
    note: str = ""
    seconds: float = 0
    data: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Step:
    """run(limit in seconds) gives its Outcome. key names what the outcome stands for (programs, device): a
    remembered one counts only under the same key."""
    name: str
    limit: float
    run: object
    key: str = ""


@dataclasses.dataclass
class Ended:
    """A program that ran: its exit status, None when it was stopped at its limit."""
    status: int | None
    out: str
    err: str

    def tail(self):
        return (self.err.strip() + "\n" + self.out.strip()).strip()[-TAIL:]

    def why(self):
        """One line: how it ended, and the last thing that it said."""
        how = "stopped at its time limit" if self.status is None else f"exit status {self.status}"
        lines = self.tail().splitlines()
        return f"{how}: {lines[-1].strip()}" if lines else how


def run_program(command, limit):
    """Runs it in a process group of its own, so that its children end with it."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, errors="replace", start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=max(limit, 0.001))
            return Ended(process.returncode, out, err)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return Ended(None, out, err)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def checked(kept):
    """What a Memory wrote, or an exception."""
    for entry in kept.values():
        Outcome(**entry["outcome"])
        entry["key"]
    return kept


class Memory:
    """Settled outcomes in a file, written after every step: a run that is cut off loses one step."""

    def __init__(self, path, fresh):
        self.path = pathlib.Path(path)
        self.kept = {}
        if self.path.exists() and not fresh:
            try:
                self.kept = checked(json.loads(self.path.read_text()))
            except (ValueError, TypeError, KeyError, AttributeError):
                print(f"{self.path} is no state of such a run: it is forgotten")

    def find(self, step):
        kept = self.kept.get(step.name)
        return Outcome(**kept["outcome"]) if kept and kept["key"] == step.key else None

    def keep(self, step, outcome):
        """Only what passed is settled: everything else is tried again."""
        self.kept.pop(step.name, None)
        if outcome.result == PASSED:
            self.kept[step.name] = {"key": step.key, "outcome": dataclasses.asdict(outcome)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(self.path.name + ".new")
        draft.write_text(json.dumps(self.kept, indent=1))
        draft.replace(self.path)


def run_steps(steps, memory, budget, say=print, clock=time.monotonic):
    """[(step, outcome)] in order. A step gets its own limit or what is left of the budget (seconds), whichever is
    less; one stopped by the budget is NOT_RUN, for it may pass in the next run."""
    begin, done = clock(), []
    for step in steps:
        outcome, left = memory.find(step), budget - (clock() - begin)
        if outcome is not None:
            outcome.note = (outcome.note + " (earlier run)").strip()
        elif left <= 0:
            outcome = Outcome(NOT_RUN, "out of time: run it again")
        else:
            started = clock()
            outcome = step.run(min(step.limit, left))
            seconds = clock() - started
            if outcome.result == FAILED and left < step.limit and seconds >= left:
                outcome = Outcome(NOT_RUN, "out of time: run it again")
            outcome.seconds = round(seconds, 1)
            memory.keep(step, outcome)
        say(f"{outcome.result:9}  {step.name}  {outcome.seconds:.1f} s  {outcome.note}".rstrip())
        done.append((step, outcome))
    return done
