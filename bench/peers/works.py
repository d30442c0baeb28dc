"""The rows of the comparison: what each one asks of a contestant, and what latentd is to reach."""

import collections.abc
import dataclasses

import load
import servers

WARM_UP = load.Load(clients=1, prompt_tokens=16, new_tokens=4, requests=1)


@dataclasses.dataclass(frozen=True)
class Work:
    """`run(contestant, seed)` gives a dictionary with tokens_per_second and whatever else was seen."""
    name: str
    goal: str
    run: collections.abc.Callable
    commands: collections.abc.Callable  # contestant → its command line as a list
    is_single: bool = False  # one sequence without clients
    beaten: float = 0.8      # a setting of llama.cpp below this share of the other's first round sits out the rest


def single(name, goal, new, depth, kind):
    return Work(name, goal, lambda who, seed: who.single(new, depth, kind),
                lambda who: who.single_command(new, depth, kind), is_single=True)


def kept(name, goal, new, depth):
    """Decode at a depth that takes minutes to reach: once, not once a round."""
    return Work(name, goal, lambda who, seed: who.kept(new, depth), lambda who: who.kept_command(new, depth),
                is_single=True)


def batch(name, goal, size, new, depth):
    return Work(name, goal, lambda who, seed: who.batch(size, new, depth),
                lambda who: who.batch_command(size, new, depth))


def served(goal, what, vocab_size, log, prefix=""):
    context = what.prompt_tokens + what.new_tokens

    def run(who, seed):
        with servers.running(who, what.clients, context, log / f"{type(who).__name__}.log") as port:
            load.run(port, WARM_UP, vocab_size, "warm-up")
            return load.run(port, what, vocab_size, seed)

    return Work(f"{prefix}HTTP, {what.name}", goal, run, lambda who: who.serve_command("PORT", what.clients, context),
                beaten=0.95)  # about a minute each: the machine's swings are averaged, and rounds are dear


def decode():
    return [single("decode, empty context", "≥ 1.0", 32, 0, "decode"),
            single("decode at 2k", "≥ 1.35", 32, 2048, "decode"),
            kept("decode at 8k", "≥ 1.9", 32, 8192),
            batch("decode, batch 32, 270 tokens each", "≥ 2.3", 32, 32, 254),
            batch("decode, batch 16, 1k tokens each", "≥ 3.2", 16, 32, 1008)]


def deep():
    return [kept("decode at 32k", "≥ 3.5", 16, 32768)]


def prefill():
    return [single("prefill 512, empty context", "≥ 1.5", 512, 0, "prefill"),
            single("prefill 512 at 2k", "≥ 1.9", 512, 2048, "prefill")]


def http(vocab_size, log):
    loads = [(1, 256, 2, "≥ 1.1"), (8, 256, 2, "≥ 1.5"), (32, 256, 1, "≥ 1.7, p99 between tokens ≤ 1/5"),
             (16, 1024, 1, "≥ 2.0")]
    return [served(goal, load.Load(clients, length, 64, requests), vocab_size, log)
            for clients, length, requests, goal in loads]


def int8():
    return [single("int8 weights, decode, empty context", "≥ 1.05", 32, 0, "decode"),
            single("int8 weights, prefill 512, empty context", "≥ 2.5", 512, 0, "prefill")]


def int8_http(vocab_size, log):
    return [served("", load.Load(8, 256, 64, 1), vocab_size, log, "int8 weights, ")]


def quick(vocab_size, log):
    """The same kinds of work, each as small as shows that it runs: no figures to keep."""
    return {"decode": [single("decode at 64", "", 4, 64, "decode"), batch("decode, batch 4, 64 tokens each", "", 4, 4, 62)],
            "prefill": [single("prefill 64 at 64", "", 64, 64, "prefill")],
            "http": [served("", load.Load(clients, 32, 8, requests=1), vocab_size, log) for clients in (1, 4)],
            "deep": [kept("decode at 1k", "", 4, 1024)],
            "int8": [single("int8 weights, decode at 64", "", 4, 64, "decode")],
            "int8-http": [served("", load.Load(2, 32, 8, requests=1), vocab_size, log, "int8 weights, ")]}


def full(vocab_size, log):
    return {"decode": decode(), "prefill": prefill(), "http": http(vocab_size, log), "deep": deep(), "int8": int8(),
            "int8-http": int8_http(vocab_size, log)}
