"""What the tests of the int8 cache and of copied weights share: the demo model run as told."""
import re
import subprocess

from conftest import BINARY, DEMO, Rpc

HELD_OUT = (DEMO / "held-out.txt").read_text(encoding="utf-8")[:20000]


def latentd(*args, status=0):
    done = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def score(text, *args):
    """Perplexity of a file, and the logits' hash."""
    out = latentd("score", *args, "--hash", text).stdout
    return (float(re.search(r"^perplexity (\S+)$", out, re.MULTILINE)[1]),
            re.search(r"^logits hash (\w+)$", out, re.MULTILINE)[1])


def answer(running):
    """A greedy text, its logits' hash, and what the server says it computes with."""
    calls = Rpc(running)
    request = calls.message("GenerateRequest", text="It was a", logits_hash=True,
                            sampling=calls.message("Sampling", temperature=0),
                            stop=calls.message("Stop", max_tokens=24))
    messages = list(calls.call("Generate", request, timeout=60))
    status = calls.call("GetStatus", calls.message("GetStatusRequest", admin=True), admin=True)
    return "".join(m.text for m in messages), messages[-1].logits_hash, status.backend
