"""Do both programs compute the same model? Their log-probabilities of the same continuations say so.

What rounding explains: both multiply bf16 weights with activations rounded to 8 bits of mantissa, an error
of 2^-9 / sqrt(3) = 0.0011 of a value at random. About ten such roundings stand on the way through a layer,
and there are eight layers, so that the last hidden state is off by sqrt(80) * 0.0011 = 0.010 of its size at
most. A logit of these weights has size one, and two programs differ by sqrt(2) as much: 0.014. The check
takes the largest of a few hundred differences, and TOLERANCE is seven times that spread. A wrong layout, a
missing rotation or a missing scale moves logits by their own size, ten times the tolerance.
"""

import json
import statistics

import load
import servers

TOLERANCE = 0.1
TOP = 20           # log-probabilities compared at each position
LENGTHS = (3, 40, 300)
NEW_TOKENS = 8
TEXT = "It was a bright cold day in April, and the clocks were striking thirteen. 1984!\n  Two  spaces."


def our_steps(port, ids):
    """(generated ids, {text: log-probability} of the TOP best at each position) of a greedy continuation."""
    body = {"prompt": ids, "max_tokens": NEW_TOKENS, "temperature": 0, "logprobs": TOP, "ignore_eos": True,
            "return_token_ids": True}
    choice = json.loads(servers.post(port, "/v1/completions", json.dumps(body)))["choices"][0]
    return choice["token_ids"], choice["logprobs"]["top_logprobs"]


def their_step(port, ids):
    body = {"prompt": ids, "n_predict": 1, "temperature": 0, "n_probs": TOP, "cache_prompt": True}
    reply = json.loads(servers.post(port, "/completion", json.dumps(body)))
    best = reply["completion_probabilities"][0]["top_logprobs"]
    return {bytes(entry["bytes"]).decode(errors="replace"): entry["logprob"] for entry in best}


def readable(logprobs):
    """Without the tokens that are part of a character: they all read alike."""
    return {text: value for text, value in logprobs.items() if "\ufffd" not in text}


def best_two(logprobs):
    best, second = sorted(logprobs, key=logprobs.get, reverse=True)[:2]
    return best, logprobs[best] - logprobs[second]


def compare(ours, theirs, where):
    """Differences of the log-probabilities that both name; fails when the best token is another one."""
    ours, theirs = readable(ours), readable(theirs)
    best, margin = best_two(ours)
    if best != best_two(theirs)[0] and margin > TOLERANCE:
        raise SystemExit(f"{where}: latentd continues with {best!r}, llama.cpp with {best_two(theirs)[0]!r}")
    differences = [abs(ours[text] - theirs[text]) for text in ours if text in theirs]
    if best not in theirs or max(differences) > TOLERANCE:
        raise SystemExit(f"{where}: log-probabilities differ by more than {TOLERANCE}:\n{ours}\n{theirs}")
    return differences


def check(ours, theirs, vocab_size, log):
    """{mean, max} difference over all positions; ends the program with what differs."""
    context = max(LENGTHS) + NEW_TOKENS
    differences = []
    with (servers.running(ours, 1, context, log / "agree-latentd.log") as our_port,
          servers.running(theirs, 1, context, log / "agree-llama.log") as their_port):
        our_ids = json.loads(servers.post(our_port, "/tokenize", json.dumps({"prompt": TEXT})))["tokens"]
        request = json.dumps({"content": TEXT, "add_special": True})
        their_ids = json.loads(servers.post(their_port, "/tokenize", request))["tokens"]
        if our_ids != their_ids:
            raise SystemExit(f"the same text has other ids: {our_ids} and {their_ids}")
        for length in LENGTHS:
            ids = load.prompt(vocab_size, length, f"agree {length}")
            generated, steps = our_steps(our_port, ids)
            for i, step in enumerate(steps):
                where = f"prompt of {length} tokens, position {i}"
                differences += compare(step, their_step(their_port, ids + generated[:i]), where)
    return {"mean": statistics.mean(differences), "max": max(differences), "compared": len(differences)}
