"""Exactness: log-probabilities and greedy text against the fp32 truth (issue: at or under the reference's own
bf16 run), and tokenizer and chat template against transformers' output."""
import gzip
import json
import sys

import pytest

from conftest import DEMO, ROOT

sys.path.insert(0, str(ROOT / "tools/golden"))
import compare  # noqa: E402

GOLDEN = ROOT / "tests/golden"
WIDTHS = ["demo-widths", "tiny-elastic-blockwise", "tiny-elastic-unified"]
NAMES = sorted({path.name.removesuffix(".json.gz") for path in GOLDEN.glob("*.json.gz")} - {*WIDTHS})


@pytest.mark.parametrize("name", NAMES)
def test_logprobs_and_greedy_text(start, name):
    folder = DEMO if name == "demo" else GOLDEN / name
    server = start("--model", folder)
    goldens = compare.load(GOLDEN / f"{name}.json.gz")
    assert len(goldens["prompts"]) >= 20
    passed, report = compare.compare(compare.HttpClient(server.url), goldens)
    print(report)
    assert passed, report


class WidthClient(compare.HttpClient):
    """Asks for everything at one width."""

    def __init__(self, url, width):
        super().__init__(url)
        self._width = width

    def _complete(self, **body):
        return super()._complete(width=self._width, **body)

    def greedy(self, ids, count):
        return super().greedy(ids, count) if count else []


@pytest.mark.parametrize("name", WIDTHS)
def test_every_width(start, name):
    """Listed and odd widths are as exact as the full one."""
    server = start("--model", DEMO if name == "demo-widths" else GOLDEN / name)
    for goldens in compare.load(GOLDEN / f"{name}.json.gz"):
        passed, report = compare.compare(WidthClient(server.url, goldens["width"]), goldens)
        print(goldens["width"], report)
        assert passed, (goldens["width"], report)


def test_tokenizer(server, rpc):
    for case in json.loads((GOLDEN / "tokenizer.json").read_text())["strings"]:
        for special, key in ((True, "ids"), (False, "ids_plain")):
            reply = rpc.call("Tokenize", rpc.message("TokenizeRequest", text=case["text"],
                                                     add_special_tokens=special))
            assert list(reply.token_ids) == case[key], case
        text = rpc.call("Detokenize", rpc.message("DetokenizeRequest", token_ids=case["ids_plain"])).text
        assert text == case["text"]


def test_chat_template(server, rpc):
    goldens = json.loads((GOLDEN / "chat.json").read_text())
    Message = type(rpc.message("Message"))
    for case in goldens["conversations"]:
        chat = rpc.message("Chat", messages=[Message(**m) for m in case["messages"]],
                           add_generation_prompt=case.get("add_generation_prompt", True),
                           continue_final_message=case.get("continue_final_message", False))
        reply = rpc.call("Tokenize", rpc.message("TokenizeRequest", chat=chat))
        assert list(reply.token_ids) == case["ids"], case
