"""`latentd score`: windows, and sweeps over a grid of widths."""
import csv
import math
import os
import pty
import shutil
import subprocess
import xml.dom.minidom

import pytest

from conftest import BINARY, ROOT

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune.\n" * 12


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("score") / "text <1>.txt"
    path.write_text(TEXT)
    return path


def score(*args, status=0):
    done = subprocess.run([BINARY, "score", *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    if status == 0:
        assert done.stderr == ""
    else:
        assert done.stdout == ""
    return done.stdout if status == 0 else done.stderr


def facts(out):
    """The numbers of a score: {'log-likelihood': …, 'perplexity': …, 'scored': …, 'windows': …}."""
    lines = dict(line.split(" ", 1) for line in out.splitlines())
    words = lines["tokens"].replace(",", "").split()
    return {"log-likelihood": float(lines["log-likelihood"]), "perplexity": float(lines["perplexity"]),
            "scored": int(words[0]), "tokens": int(words[3]), "window": int(words[5]),
            "stride": int(words[7]), "windows": int(words[9])}


def test_one_window_equals_the_server(text, server):
    ours = facts(score(text))
    body = {"prompt": TEXT, "max_tokens": 0, "echo": True, "logprobs": 0}
    status, reply, _ = server.post("/v1/completions", body)
    assert status == 200
    theirs = reply["choices"][0]["logprobs"]["token_logprobs"]
    assert theirs[0] is None and ours["scored"] == ours["tokens"] == len(theirs) - 1
    assert ours["windows"] == 1
    # Printed with six decimals, summed in double from the same floats.
    assert math.isclose(ours["log-likelihood"], sum(theirs[1:]), abs_tol=1e-6)


def test_windows_and_stride(text):
    whole = facts(score(text))
    cut = facts(score(text, "--max-model-len", 65))
    assert (cut["window"], cut["stride"]) == (64, 64)
    assert cut["windows"] == math.ceil(cut["tokens"] / 64) and cut["scored"] == cut["tokens"]
    overlapping = facts(score(text, "--max-model-len", 65, "--stride", 16))
    assert overlapping["windows"] == 1 + math.ceil((cut["tokens"] - 64) / 16)
    assert overlapping["scored"] == cut["tokens"]
    # Context lost costs likelihood: the text repeats itself.
    assert cut["perplexity"] > overlapping["perplexity"] > whole["perplexity"]


def test_grid(text, tmp_path):
    table, picture = tmp_path / "grid.csv", tmp_path / "grid.svg"
    table.write_text("of an earlier run\n" * 100)
    out = score("--grid", "--q", "16:96:80", "--kv", "64,8", text, "--csv", table, "--svg", picture).splitlines()
    assert out[1].split() == ["8", "64"] and [line.split()[0] for line in out[2:4]] == ["16", "96"]
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [(row["q"], row["kv"]) for row in rows] == [("16", "8"), ("16", "64"), ("96", "8"), ("96", "64")]
    for row, cell in zip(rows, out[2].split()[1:] + out[3].split()[1:]):
        alone = facts(score("--width", f"{row['q']},{row['kv']}", text))
        assert f"{float(row['log_likelihood']):.6f}" == f"{alone['log-likelihood']:.6f}"
        assert f"{float(row['perplexity']):.4f}" == cell
        assert math.isclose(float(row["nats_per_token"]), math.log(float(row["perplexity"])), rel_tol=1e-12)
        assert (int(row["tokens_scored"]), int(row["window"])) == (alone["scored"], alone["window"])
    assert len({row["perplexity"] for row in rows}) == 4
    texts = words_of(picture)
    assert {"8", "64", "16", "96", "KV latent rank", "query latent rank", "perplexity"} <= texts
    assert any(word.startswith("latentd-demo on text <1>.txt: ") for word in texts)


def test_grid_without_an_opening_token(text, tmp_path):
    """The first token of each window has nothing before it: it is in no figure."""
    model = tmp_path / "model"
    shutil.copytree(ROOT / "tests/golden/tiny-elastic-unified", model)
    for part in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "tests/golden/tiny-youtu" / part, model / part)
    table, window = tmp_path / "grid.csv", ("--model", model, "--max-model-len", 100)
    out = score("--grid", "--q", "64,241", "--kv", "37,128,256", *window, text, "--csv", table)
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert len(rows) == 6
    for row in rows:
        alone = facts(score("--width", f"{row['q']},{row['kv']}", *window, text))
        assert alone["scored"] == alone["tokens"] - alone["windows"] and alone["windows"] > 1
        assert (int(row["tokens_scored"]), int(row["window"])) == (alone["scored"], alone["window"])
        assert f"{float(row['log_likelihood']):.6f}" == f"{alone['log-likelihood']:.6f}"
        assert f"{float(row['perplexity']):.6f}" == f"{alone['perplexity']:.6f}"
    assert f"tokens {rows[0]['tokens_scored']} scored of" in out


def test_one_rank_on_an_axis_draws_a_line(text, tmp_path):
    picture = tmp_path / "line.svg"
    out = score("--grid", "--q", "96", "--svg", picture, text)
    assert out.splitlines()[1].split() == ["8", "16", "32", "48", "64"]
    assert {"loss (nats per token)", "KV latent rank (query latent rank 96)"} <= words_of(picture)


def words_of(picture):
    document = xml.dom.minidom.parse(str(picture))
    return {node.firstChild.data for node in document.getElementsByTagName("text") if node.firstChild}


def test_bad_usage(text, tmp_path):
    for args, words in [
            (["--grid", "--q", "64:32"], ["--q", "'64:32'", "before"]),
            (["--grid", "--kv", "x"], ["--kv", "FROM:TO:STEP"]),
            (["--grid", "--width", "96,64"], ["--width", "--grid"]),
            (["--q", "96"], ["--grid"]), (["--svg", tmp_path / "a.svg"], ["--grid"])]:
        message = score(text, *args, status=2)
        assert message.count("\n") == 1, message
        assert all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []


def test_bad_sweep(text, tmp_path):
    missing = tmp_path / "no such folder" / "grid.csv"
    fixed = ROOT / "tests/golden/tiny-youtu"
    for args, words in [
            (["--grid", "--kv", "63"], ["--kv", "8, 16, 32, 48, 64", "63"]),
            (["--grid", "--q", "97"], ["--q", "16, 32, 48, 64, 96", "97"]),
            (["--grid", "--model", fixed], ["elastic", "tiny-youtu"]),
            (["--grid", "--csv", missing], ["--csv", str(missing)]),
            (["--grid", "--csv", tmp_path / "new.csv", "--svg", missing], ["--svg"]),
            (["--grid", "--stride", "5000"], ["--stride", "1023"])]:
        message = score(text, *args, status=1)
        assert message.count("\n") == 1, message
        assert all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []


def test_progress_only_on_a_terminal(text):
    ours, theirs = pty.openpty()
    done = subprocess.run([BINARY, "score", text], stdout=subprocess.PIPE, stderr=theirs, text=True,
                          check=True)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # EIO is the end of a terminal
        pass
    assert b"scoring [" in shown and shown.endswith(b"\r\x1b[K")
    assert "perplexity" in done.stdout


def digest(*args):
    line = score(*args, "--hash").splitlines()[-1]
    assert line.startswith("logits hash ") and len(line) == len("logits hash ") + 32
    return line


def test_hash(text, tmp_path):
    """The same for every batching and number of threads; another for other logits."""
    hashes = {digest(text, *how) for how in ([], ["--threads", 1], ["--max-num-batched-tokens", 80,
                                                                  "--max-num-seqs", 2])}
    assert len(hashes) == 1
    for how in (["--width", "48,32"], ["--max-model-len", 100], ["--cpu-path", "scalar"]):
        assert digest(text, *how) not in hashes
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("fortune", "fortunes", 1))
    assert digest(other) not in hashes
    assert "logits hash" not in score(text)
    score(text, "--hash", "--grid", status=2)
