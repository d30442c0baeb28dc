"""Times one work: the contestants take turns, round by round."""

import shlex
import sys

import report


def command_text(command):
    return shlex.join(map(str, command))


def time_rounds(work, contestants, rounds, measure_roofs, every_setting=False):
    """The work's row. Each round begins with another contestant, after a look at the machine.

    Unless every_setting, the settings of llama.cpp that lose the first round clearly sit out the others.
    """
    row = report.Row(work.name, work.goal, {who.name: command_text(work.commands(who)) for who in contestants},
                     {who.name: [] for who in contestants}, {who.name: [] for who in contestants})
    there = contestants
    try:
        for i in range(rounds):
            if i == 1 and not every_setting:
                beaten = row.beaten(work.beaten)
                for who in there:
                    if who.name in beaten:
                        who.release()
                there = [who for who in there if who.name not in beaten]
            row.idle.append(report.idle_share())
            row.roofs.append(measure_roofs())
            turn = i % len(there)
            for who in there[turn:] + there[:turn]:
                take_turn(work, who, i, row)
    finally:
        for who in there:
            who.release()
    return row


def take_turn(work, who, i, row):
    seen = work.run(who, seed=f"round {i}")
    row.figures[who.name].append(seen.pop("tokens_per_second"))
    row.details[who.name].append(seen)
    print(f"{work.name}, round {i + 1}, {who.name}: {row.figures[who.name][-1]:.2f} tokens/s", file=sys.stderr)
