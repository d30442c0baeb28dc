#!/usr/bin/env python3
"""Compares a running server with goldens: log-probabilities to the truth, greedy text where it is firm.

    compare.py http://127.0.0.1:8080 tests/golden/demo.json.gz [--model NAME]

The yardstick is in the goldens: how far the reference implementation's own bf16 run is off the truth.
Mean and 99th percentile must be at or under it. A greedy token may differ from the truth's only where
the two best were closer than that run's own error (99th percentile) in telling them apart; what follows
such a token is not compared. Exit 1 when something is above. Standard library and numpy only.
"""

import argparse
import gzip
import json
import sys
import urllib.request

import numpy as np


def load(path):
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        return json.load(file)


class HttpClient:
    """The two questions that the comparison asks, over /v1/completions."""

    def __init__(self, base_url, model=None, timeout=120):
        self.url, self.timeout = base_url.rstrip("/") + "/v1/", timeout
        self.model = model or self._get("models")["data"][0]["id"]

    def _get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=self.timeout) as reply:
            return json.load(reply)

    def _complete(self, **fields):
        request = urllib.request.Request(
            self.url + "completions", json.dumps({"model": self.model, **fields}).encode(),
            {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=self.timeout) as reply:
            return json.load(reply)["choices"][0]

    def next_token_logprobs(self, ids):
        """Log-probability of ids[1:], each given what stands before it."""
        choice = self._complete(prompt=ids, max_tokens=0, echo=True, logprobs=0, temperature=0)
        values = choice["logprobs"]["token_logprobs"]
        if len(values) != len(ids) or values[0] is not None:
            raise ValueError(f"{len(values)} echoed log-probabilities for {len(ids)} tokens, the first "
                             f"being {values[0]}")
        return values[1:]

    def greedy(self, ids, count):
        """Ids of the greedy continuation."""
        choice = self._complete(prompt=ids, max_tokens=count, temperature=0, ignore_eos=True,
                                return_token_ids=True)
        return choice["token_ids"]


def compare_logprobs(client, goldens):
    """(mean, p99, max) of |difference to the truth| over all positions, and where the worst is."""
    deltas, places = [], []
    for i, prompt in enumerate(goldens["prompts"]):
        got = client.next_token_logprobs(prompt["ids"])
        for position, (value, truth) in enumerate(zip(got, prompt["logprobs"], strict=True)):
            deltas.append(abs(value - truth))
            places.append(f"prompt {i} position {position + 1}: {value:.5f}, truth {truth:.5f}")
    deltas = np.array(deltas)
    return (deltas.mean(), np.quantile(deltas, 0.99), deltas.max()), places[int(deltas.argmax())]


def compare_greedy(client, goldens):
    """(tokens compared, excused differences, list of unexcused ones as text)."""
    noise, compared, excused, wrong = goldens["bf16_top2_gap"]["p99"], 0, 0, []
    for i, prompt in enumerate(goldens["prompts"]):
        got = client.greedy(prompt["ids"], len(prompt["greedy"]))
        steps = zip(got, prompt["greedy"], prompt["greedy_gaps"], strict=True)
        for step, (token, truth, gap) in enumerate(steps):
            compared += 1
            if token != truth:
                if gap < noise:
                    excused += 1
                else:
                    wrong.append(f"prompt {i} step {step}: token {token}, truth {truth} leads by "
                                 f"{gap:.4f}, noise is {noise:.4f}")
                break
    return compared, excused, wrong


def compare(client, goldens):
    """(passed, report) of one model; client has next_token_logprobs and greedy."""
    measured, worst = compare_logprobs(client, goldens)
    yardstick = goldens["bf16_next_token"]
    lines, passed = [], True
    for name, value in zip(("mean", "p99", "max"), measured):
        over = name != "max" and value > yardstick[name]
        passed = passed and not over
        lines.append(f"{name:5} {value:.6f}  reference bf16 {yardstick[name]:.6f}"
                     f"{'  ABOVE' if over else ''}")
    lines.append(f"worst {worst}")
    compared, excused, wrong = compare_greedy(client, goldens)
    lines.append(f"greedy: {compared} tokens compared, {excused} prompts left the truth at a near tie, "
                 f"{len(wrong)} wrongly")
    return passed and not wrong, "\n".join(lines + wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("goldens")
    parser.add_argument("--model")
    args = parser.parse_args()
    passed, report = compare(HttpClient(args.url, args.model), load(args.goldens))
    print(report)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
