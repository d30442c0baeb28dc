"""A load of streaming completions, and what its clients saw. Standard library only."""

import dataclasses
import http.client
import json
import os
import random
import statistics
import threading
import time

FIRST_WORD = 262  # ids below it are special tokens and single bytes, whose text may come late
LEAST_PIECES = 0.9  # of text, for each token: with fewer, a gap between pieces is not one between tokens


@dataclasses.dataclass(frozen=True)
class Load:
    """Each of `clients` sends `requests` prompts of its own, one after the other."""
    clients: int
    prompt_tokens: int
    new_tokens: int
    requests: int

    @property
    def name(self):
        clients = f"{self.clients} client{'s' * (self.clients > 1)}"
        times = f"{self.requests} × " if self.requests > 1 else ""
        return f"{clients}, {times}{self.prompt_tokens} in + {self.new_tokens} out"


@dataclasses.dataclass
class Seen:
    sent: float
    arrivals: list  # seconds, one for each piece of text
    usage: dict     # as the server counts


def prompt(vocab_size, length, seed):
    """Random ids, no two prompts alike from the first token on, so that no cache of prefixes helps."""
    return random.Random(seed).choices(range(FIRST_WORD, vocab_size), k=length)


def complete(port, ids, new_tokens):
    """One greedy completion of exactly `new_tokens` tokens."""
    body = {"prompt": ids, "max_tokens": new_tokens, "temperature": 0, "ignore_eos": True,
            "stream": True, "stream_options": {"include_usage": True}}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    sent = time.perf_counter()
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    if reply.status != 200:
        raise RuntimeError(f"HTTP {reply.status}: {reply.read()[:500]}")
    seen = Seen(sent, [], {})
    for line in reply:
        if not line.startswith(b"data: {"):
            continue
        now = time.perf_counter()
        event = json.loads(line[6:])
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        if any(choice["text"] for choice in event["choices"]):
            seen.arrivals.append(now)
        seen.usage = event.get("usage") or seen.usage
    connection.close()
    check(seen, len(ids), new_tokens)
    return seen


def check(seen, prompt_tokens, new_tokens):
    """Did the server do the work that it was asked for, all of it, and send each token when it had it?"""
    for what, expected in (("prompt_tokens", prompt_tokens), ("completion_tokens", new_tokens)):
        if seen.usage.get(what) != expected:
            raise RuntimeError(f"{what} is {seen.usage.get(what)} instead of {expected}")
    if reused := (seen.usage.get("prompt_tokens_details") or {}).get("cached_tokens"):
        raise RuntimeError(f"{reused} prompt tokens came from a cache")
    if len(seen.arrivals) < LEAST_PIECES * new_tokens:
        raise RuntimeError(f"{new_tokens} tokens came in {len(seen.arrivals)} pieces")


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(port, load, vocab_size, seed):
    """Figures of the whole load, and the generator's own share of all processors while it ran."""
    seen, failures = [], []
    begin, begin_busy = time.perf_counter(), time.process_time()

    def client(number):
        try:
            for request in range(load.requests):
                ids = prompt(vocab_size, load.prompt_tokens, f"{seed} {number} {request}")
                seen.append(complete(port, ids, load.new_tokens))
        except Exception as failure:  # handed to the caller's thread
            failures.append(failure)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(load.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    passed = (time.perf_counter() - begin) * os.cpu_count()
    return {**figures(seen), "generator_share": (time.process_time() - begin_busy) / passed}


def figures(seen):
    """Tokens/s from the first request sent to the last text, and latencies in ms."""
    first = [one.arrivals[0] - one.sent for one in seen]
    gaps = [b - a for one in seen for a, b in zip(one.arrivals, one.arrivals[1:])]
    seconds = max(one.arrivals[-1] for one in seen) - min(one.sent for one in seen)
    return {"tokens_per_second": sum(one.usage["completion_tokens"] for one in seen) / seconds,
            "ttft_p50_ms": 1e3 * statistics.median(first), "ttft_p99_ms": 1e3 * quantile(first, 0.99),
            "itl_p50_ms": 1e3 * statistics.median(gaps), "itl_p99_ms": 1e3 * quantile(gaps, 0.99)}
