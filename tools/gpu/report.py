"""What a run leaves: a markdown page and the same as JSON."""
import dataclasses
import json
import pathlib
import shlex
import sys


def table(headings, rows):
    """A markdown table, its columns aligned so that a terminal shows it well too."""
    cells = [[str(cell).replace("|", "/").replace("\n", " ") for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def publish(folder, name, title, verdict, device, programs, page_table, done):
    """Printed, then folder/name.md and folder/name.json. done: [(step, outcome)]."""
    print(f"\n{page_table}\n\n{verdict}", flush=True)
    command = shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])
    facts = "\n".join(f"- {key}: {value}" for key, value in device.items())
    failures = "".join(f"\n## {step.name}\n\n```\n{outcome.data['output']}\n```\n"
                       for step, outcome in done if outcome.data.get("output"))
    (folder / f"{name}.md").write_text(
        f"# {title}\n\n{verdict}\n\n{page_table}\n\n## Device and build\n\n{facts}\n"
        f"- revision: {programs.revision()}\n- command: `{command}`\n{failures}")
    (folder / f"{name}.json").write_text(json.dumps(
        {"title": title, "verdict": verdict, "device": device, "revision": programs.revision(), "command": command,
         "steps": [{"name": step.name, "limit_seconds": step.limit, **dataclasses.asdict(outcome)}
                   for step, outcome in done]}, indent=1) + "\n")
    print(f"results: {folder / name}.md")
