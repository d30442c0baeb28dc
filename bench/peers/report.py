"""Figures of interleaved rounds, as JSON for programs and as Markdown for people."""

import dataclasses
import datetime
import json
import os
import platform
import statistics
import time

QUIET = 0.9     # least idle share of the processors before a round that measures anything
UNNOTICED = 0.05  # most of all processors that the load generator may take


@dataclasses.dataclass
class Row:
    """One work, and each contestant's figures in the order of the rounds."""
    name: str
    goal: str       # least ratio that the project wants, as text
    commands: dict  # contestant → command line
    figures: dict   # contestant → [tokens/s, one a round]; one that is beaten has those of the first round alone
    details: dict   # contestant → [{share_of_roof, ...} or {ttft_p50_ms, ...}, one a round]
    idle: list = dataclasses.field(default_factory=list)   # share of the processors before each round
    roofs: list = dataclasses.field(default_factory=list)  # {roof_gb_per_second, roof_tflops} before each round

    def _settings(self):
        return [name for name in self.figures if name.startswith("llama.cpp")]

    def peer(self):
        """llama.cpp's setting with the best median, of those timed in every round: latentd is compared with it."""
        rounds = len(self.figures["latentd"])
        complete = [name for name in self._settings() if len(self.figures[name]) == rounds]
        return max(complete, key=lambda name: statistics.median(self.figures[name]))

    def beaten(self, share):
        """llama.cpp's settings that reached less than `share` of its best one in the first round."""
        first = {name: self.figures[name][0] for name in self._settings()}
        return [name for name in first if first[name] < share * max(first.values())]

    def ratios(self):
        return [ours / theirs for ours, theirs in zip(self.figures["latentd"], self.figures[self.peer()], strict=True)]


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(": ", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} processors"


def idle_share():
    """Of all processors over one second, in which this program does nothing."""
    def ticks():
        with open("/proc/stat", encoding="utf-8") as file:
            return [int(word) for word in file.readline().split()[1:]]
    before = ticks()
    time.sleep(1)
    passed = [after - earlier for after, earlier in zip(ticks(), before)]
    return (passed[3] + passed[4]) / sum(passed)  # idle and waiting for a disk


def spread(values, digits):
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def detail(row, name, key):
    """Median over the rounds; None where the work has no such figure."""
    seen = [one[key] for one in row.details[name] if key in one]
    return statistics.median(seen) if seen else None


def roofs_text(row):
    """GB/s and TFLOP/s before the rounds."""
    return (f"{spread([one['roof_gb_per_second'] for one in row.roofs], 0)}; "
            f"{spread([one['roof_tflops'] for one in row.roofs], 2)}")


def throughput_table(rows):
    lines = ["| Work | ratio | goal | latentd, tokens/s | of its roof | llama.cpp, tokens/s | its setting "
             "| idle before each round | roofs: GB/s; TFLOP/s |", "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        peer = row.peer()
        share = detail(row, "latentd", "share_of_roof")
        lines.append(f"| {row.name} | {spread(row.ratios(), 2)} | {row.goal} | {spread(row.figures['latentd'], 1)} "
                     f"| {'–' if share is None else f'{share:.0%}'} | {spread(row.figures[peer], 1)} "
                     f"| {peer.removeprefix('llama.cpp ')} | {', '.join(f'{one:.0%}' for one in row.idle)} "
                     f"| {roofs_text(row)} |")
    return lines


def other_table(rows):
    """What else was timed: llama.cpp's other settings, and transformers."""
    lines = [f"| {row.name} | {name} | {spread(figures, 1)} | {len(figures)} |" for row in rows
             for name, figures in row.figures.items() if name not in ("latentd", row.peer())]
    return ["", "| Work | Also timed | tokens/s | rounds |", "|---|---|---|---|", *lines] if lines else []


def latency_table(rows):
    """Of the works that went over HTTP."""
    served = [row for row in rows if detail(row, "latentd", "ttft_p50_ms") is not None]
    lines = [f"| {row.name} | {name} | " + " | ".join(
        f"{detail(row, name, key):.0f}" for key in ("ttft_p50_ms", "ttft_p99_ms", "itl_p50_ms", "itl_p99_ms"))
        + f" | {max(one['generator_share'] for one in row.details[name]):.1%} |"
        for row in served for name in ("latentd", row.peer())]
    return ["", "| Load | Server | TTFT p50, ms | p99 | between tokens p50, ms | p99 | generator's processor share |",
            "|---|---|---|---|---|---|---|", *lines] if lines else []


def command_lists(rows):
    lines = [f"- {row.name}\n" + "\n".join(f"  - `{row.commands[name]}`" for name in ("latentd", row.peer()))
             for row in rows]
    return ["", "Commands, from the repository's folder:", "", *lines]


def warnings(rows):
    """What makes the figures doubtful."""
    found = []
    if min(share for row in rows for share in row.idle) < QUIET:
        found.append("Others were at work on this machine: the figures are no measure of either program.")
    if any(one.get("generator_share", 0) > UNNOTICED for row in rows for seen in row.details.values() for one in seen):
        found.append(f"The load generator took more than {UNNOTICED:.0%} of the processors from the servers.")
    return [f"**{one}**" for one in found]


def markdown(rows, about):
    one = about["agreement"]
    lines = ["# latentd and its peers on a CPU", "",
             f"Written by `{about['command']}` on {about['date']}: {about['machine']}, {about['threads']} threads.",
             f"{about['latentd']}; {about['llama.cpp']}.", *warnings(rows), "",
             "Median of the rounds, in brackets the least and the most; the programs take turns within a round, and",
             "a ratio is of two figures of one round. llama.cpp is shown under its best setting.", "",
             f"Same weights, same computation: {one['compared']} log-probabilities of greedy continuations differ by",
             f"{one['mean']:.4f} on average and by {one['max']:.4f} at most.", "",
             *throughput_table(rows), *other_table(rows), *latency_table(rows), *command_lists(rows)]
    return "\n".join(lines) + "\n"


def write(path, rows, about):
    """path.md and path.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".md").write_text(markdown(rows, about))
    content = {**about, "rows": [dataclasses.asdict(row) for row in rows]}
    path.with_name(path.name + ".json").write_text(json.dumps(content, indent=1) + "\n")


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
