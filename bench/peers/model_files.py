"""The shape P8 with random weights, as a Hugging Face folder and as GGUF files of the same numbers."""

import json
import pathlib
import subprocess
import sys

import to_gguf

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = HERE / "p8.json"


def write_tokenizer(folder, vocab_size):
    """The demo model's BPE and one word for each further id, so that every token has a text.

    No merge leads to the further words: text is cut as the demo model cuts it, but whatever a random
    model says can be printed, and so both servers send something for each token.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = json.loads((ROOT / "models/demo/tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab.update({f"Ġw{i:05}": i for i in range(len(vocab), vocab_size)})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    settings = json.loads((ROOT / "models/demo/tokenizer_config.json").read_text())
    for key in ("chat_template", "model_max_length"):
        settings.pop(key)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def make(cache, types):
    """(Hugging Face folder, {type: GGUF file}) under `cache`; what is there already is kept."""
    folder = cache / "p8"
    if not (folder / "complete").exists():
        write_tokenizer(cache / "tokenizer", json.loads(CONFIG.read_text())["vocab_size"])
        subprocess.run([sys.executable, ROOT / "tools/golden/random_model.py", folder, "--config", CONFIG,
                        "--tokenizer", cache / "tokenizer"], check=True)
        (folder / "complete").touch()
    files = {}
    for name in types:
        files[name] = cache / f"p8-{name}.gguf"
        if not files[name].exists():
            unfinished = files[name].with_suffix(".part")
            to_gguf.convert(folder, unfinished, name)
            unfinished.rename(files[name])
    return folder, files
