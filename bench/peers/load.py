"""A load of streaming completions, and what its clients saw. Standard library only."""

import dataclasses
import http.client
import json
import random
import statistics
import threading
import time

FIRST_WORD = 262  # ids below it are special tokens and single bytes, whose text may come late


@dataclasses.dataclass(frozen=True)
class Load:
    """Each of `clients` sends `requests` prompts of its own, one after the other."""
    clients: int
    prompt_tokens: int
    new_tokens: int
    requests: int

    @property
    def name(self):
        return f"{self.clients} client{'s' * (self.clients > 1)}, {self.prompt_tokens} in + {self.new_tokens} out"


@dataclasses.dataclass
class Seen:
    sent: float
    arrivals: list  # seconds, one for each piece of text
    tokens: int     # by the server's own usage


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
    seen = Seen(sent, [], 0)
    for line in reply:
        if not line.startswith(b"data: {"):
            continue
        now = time.perf_counter()
        event = json.loads(line[6:])
        if "error" in event:
            raise RuntimeError(str(event["error"]))
        if any(choice["text"] for choice in event["choices"]):
            seen.arrivals.append(now)
        seen.tokens = (event.get("usage") or {}).get("completion_tokens", seen.tokens)
    connection.close()
    if seen.tokens != new_tokens:
        raise RuntimeError(f"{seen.tokens} tokens came instead of {new_tokens}")
    return seen


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(port, load, vocab_size, seed):
    """Figures of the whole load: tokens/s from the first request sent to the last text, and latencies in ms."""
    seen, failures = [], []

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
    first = [one.arrivals[0] - one.sent for one in seen]
    gaps = [b - a for one in seen for a, b in zip(one.arrivals, one.arrivals[1:])]
    seconds = max(one.arrivals[-1] for one in seen) - min(one.sent for one in seen)
    return {"tokens_per_second": sum(one.tokens for one in seen) / seconds,
            "ttft_p50_ms": 1e3 * statistics.median(first), "ttft_p99_ms": 1e3 * quantile(first, 0.99),
            "itl_p50_ms": 1e3 * statistics.median(gaps), "itl_p99_ms": 1e3 * quantile(gaps, 0.99)}
