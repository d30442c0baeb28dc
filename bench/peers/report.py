"""Figures of interleaved rounds, as JSON for programs and as Markdown for people."""

import dataclasses
import datetime
import json
import os
import platform
import statistics
import time


@dataclasses.dataclass
class Row:
    """One work, and each contestant's figures in the order of the rounds."""
    name: str
    goal: str       # least ratio that the project wants, as text
    commands: dict  # contestant → command line
    figures: dict   # contestant → [tokens/s, one a round]
    details: dict   # contestant → [{share_of_roof, ...} or {ttft_p50_ms, ...}, one a round]
    idle: list = dataclasses.field(default_factory=list)  # share of the processors before each round

    def peer(self):
        """llama.cpp's setting with the best median: the one that latentd is compared with."""
        peers = [name for name in self.figures if name.startswith("llama.cpp")]
        return max(peers, key=lambda name: statistics.median(self.figures[name]))

    def ratios(self):
        return [ours / theirs for ours, theirs in zip(self.figures["latentd"], self.figures[self.peer()])]


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
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def detail(row, name, key):
    """Median over the rounds; None where the work has no such figure."""
    seen = [one[key] for one in row.details[name] if key in one]
    return statistics.median(seen) if seen else None


def throughput_table(rows):
    lines = ["| Work | latentd, tokens/s | of its roof | llama.cpp, tokens/s | its setting | ratio | goal | transformers |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        peer = row.peer()
        setting = peer.removeprefix("llama.cpp ")
        third = spread(row.figures["transformers"], 2) if "transformers" in row.figures else "–"
        share = detail(row, "latentd", "share_of_roof")
        share = "–" if share is None else f"{share:.0%}"
        lines.append(f"| {row.name} | {spread(row.figures['latentd'], 1)} | {share} | {spread(row.figures[peer], 1)} "
                     f"| {setting} | {spread(row.ratios(), 2)} | {row.goal} | {third} |")
    return lines


def latency_table(rows):
    lines = ["| Load | Server | TTFT p50, ms | TTFT p99 | between tokens p50, ms | p99 |", "|---|---|---|---|---|---|"]
    for row in rows:
        for name in ("latentd", row.peer()):
            keys = ("ttft_p50_ms", "ttft_p99_ms", "itl_p50_ms", "itl_p99_ms")
            cells = " | ".join(f"{detail(row, name, key):.0f}" for key in keys)
            lines.append(f"| {row.name} | {name} | {cells} |")
    return lines


def markdown(rows, about):
    idle = [share for row in rows for share in row.idle]
    one = about["agreement"]
    lines = ["# latentd and its peers on a CPU", "",
             f"Written by `{about['command']}` on {about['date']}: {about['machine']}, {about['threads']} threads.",
             f"{about['latentd']}; {about['llama.cpp']}.",
             f"Idle share of the processors in the second before a round: {min(idle):.0%}–{max(idle):.0%}"
             f"{'; others were at work, so the figures are no measure of either program' if min(idle) < 0.9 else ''}.",
             "",
             "Median of the rounds, in brackets the least and the most; the programs take turns within a round, and",
             "a ratio is of two figures of one round. llama.cpp is shown under its best setting.", "",
             f"Same weights, same computation: {one['compared']} log-probabilities of greedy continuations differ by",
             f"{one['mean']:.4f} on average and by {one['max']:.4f} at most.", "",
             *throughput_table(rows)]
    served = [row for row in rows if detail(row, "latentd", "ttft_p50_ms") is not None]
    if served:
        lines += ["", *latency_table(served)]
    return "\n".join(lines) + "\n"


def write(path, rows, about):
    """path.md and path.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(markdown(rows, about))
    content = {**about, "rows": [dataclasses.asdict(row) for row in rows]}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
