"""Goldens of elastic models at several widths, listed and odd.

demo-widths is the demo model at listed widths; tiny-elastic-blockwise and tiny-elastic-unified are random
latent_mla checkpoints of which every rank may be asked for, written beside their goldens. The truth is
tools/demo/model.py in float64 at that width, the yardstick the same in bf16.
"""

import json
import pathlib
import shutil
import sys

import torch
from files import write_json
from tiny import Weights, save
from tokenizers import Tokenizer

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tools/demo"))
from model import LatentMla  # noqa: E402

LENGTHS = [2, 3, 5, 10, 17, 31, 33, 48, 63, 64, 65, 80, 96, 100, 127, 128, 129, 150, 191, 200]
GREEDY_TOKENS, GREEDY_PROMPTS = 16, 6  # of the shortest prompts
CONFIG = {
    "architectures": ["LatentMlaForCausalLM"], "model_type": "latent_mla", "torch_dtype": "bfloat16",
    "vocab_size": 512, "hidden_size": 72, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_kv_groups": 3, "q_lora_rank": 256, "kv_lora_rank": 256, "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8, "v_head_dim": 10, "intermediate_size": 400, "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "qk_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 512,
    "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
    "elastic": {"q_lora_ranks": [64, 256], "kv_lora_ranks": [64, 128, 256], "mlp": "4*max(q,kv)",
                "continuous": True},
}
FORMS = {"tiny-elastic-blockwise": ("blockwise", 31), "tiny-elastic-unified": ("unified", 32)}
NAMES = ("demo-widths", *FORMS)
ODD_WIDTHS = [(256, 256), (242, 241), (241, 242), (37, 241), (242, 37), (64, 128), (37, 37)]
DEMO_WIDTHS = [(64, 48), (48, 16), (16, 64), (16, 8)]


def key_norms(form, c):
    content, rope = c["qk_nope_head_dim"], c["qk_rope_head_dim"]
    if form == "unified":
        return [("q_norm", content + rope), ("k_norm", content + rope)]
    return [("q_content_norm", content), ("q_rope_norm", rope), ("k_content_norm", content),
            ("k_rope_norm", rope)]


def tensors_of(form, seed):
    """Trained nothing: what matters is that every lane counts, so that a wrong slice shows."""
    c, w = CONFIG, Weights(seed)
    hidden, heads, groups = c["hidden_size"], c["num_attention_heads"], c["num_kv_groups"]
    key = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    w.matrix("model.embed_tokens", c["vocab_size"], hidden)
    w.tensors["model.embed_tokens.weight"] *= 4
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        w.norm(p + "input_layernorm", hidden)
        a = p + "self_attn."
        w.matrix(a + "q_a_proj", c["q_lora_rank"], hidden)
        w.norm(a + "q_a_layernorm", c["q_lora_rank"])
        w.matrix(a + "q_b_proj", heads * key, c["q_lora_rank"], 1.5)
        w.matrix(a + "kv_a_proj_with_mqa", c["kv_lora_rank"] + c["qk_rope_head_dim"], hidden)
        w.norm(a + "kv_a_layernorm", c["kv_lora_rank"])
        w.matrix(a + "kv_b_proj", groups * (c["qk_nope_head_dim"] + c["v_head_dim"]),
                 c["kv_lora_rank"])
        w.matrix(a + "o_proj", hidden, heads * c["v_head_dim"], 1.5)
        for name, size in key_norms(form, c):
            w.norm(a + name, size)
        w.norm(p + "post_attention_layernorm", hidden)
        w.mlp(p + "mlp", hidden, c["intermediate_size"])
    w.norm("model.norm", hidden)
    w.matrix("lm_head", c["vocab_size"], hidden, 2.5)
    return w.tensors


def write_checkpoint(name, folder):
    form, seed = FORMS[name]
    save(folder, {**CONFIG, "qk_norm": form}, tensors_of(form, seed))
    for part in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(REPO / "tests/golden/tiny-deepseek-v3" / part, folder / part)


def prompt_ids(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    passages = (REPO / "tools/golden/prompts.txt").read_text(encoding="utf-8").split("\n%\n")
    return [tokenizer.encode(passages[i % len(passages)].strip()).ids[:length]
            for i, length in enumerate(LENGTHS)]


def log_probs(model, rows, width):
    return torch.log_softmax(model(torch.tensor(rows), *width).double(), -1)


def greedy(model, ids, width):
    """The continuation, and the lead of each token over the second best."""
    ids, tokens, gaps = list(ids), [], []
    for _ in range(GREEDY_TOKENS):
        best = log_probs(model, [ids], width)[0, -1].topk(2)
        tokens.append(int(best.indices[0]))
        gaps.append(round(float(best.values[0] - best.values[1]), 6))
        ids.append(tokens[-1])
    return tokens, gaps


def spread(deltas):
    values = torch.cat(deltas).abs()
    return {"mean": float(values.mean()), "p99": float(values.quantile(0.99)),
            "max": float(values.max()), "positions": values.numel()}


@torch.no_grad()
def at_width(exact, coarse, prompts, width):
    rows, deltas, gaps, entropy = [], [], [], []
    for i, ids in enumerate(prompts):
        tokens, leads = greedy(exact, ids, width) if i < GREEDY_PROMPTS else ([], [])
        truth, rounded = log_probs(exact, [ids], width)[0], log_probs(coarse, [ids], width)[0]
        following = torch.tensor(ids[1:])[:, None]
        next_truth = truth[:-1].gather(1, following)[:, 0]
        deltas.append(rounded[:-1].gather(1, following)[:, 0] - next_truth)
        two = truth.topk(2)
        near = rounded.gather(1, two.indices)
        gaps.append((near[:, 0] - near[:, 1]) - (two.values[:, 0] - two.values[:, 1]))
        entropy.append(-(truth.exp() * truth).sum(-1))
        rows.append({"ids": ids, "logprobs": [round(v, 6) for v in next_truth.tolist()],
                     "greedy": tokens, "greedy_gaps": leads})
    return {"width": {"q": width[0], "kv": width[1]}, "bf16_next_token": spread(deltas),
            "bf16_top2_gap": spread(gaps), "mean_entropy": float(torch.cat(entropy).mean()),
            "prompts": rows}


def make(name, out, demo):
    folder, widths = demo, DEMO_WIDTHS
    if name in FORMS:
        folder, widths = out / name, ODD_WIDTHS
        write_checkpoint(name, folder)
    prompts = prompt_ids(folder)
    exact, coarse = (LatentMla.load(folder, dtype) for dtype in (torch.float64, torch.bfloat16))
    goldens = [at_width(exact, coarse, prompts, width) for width in widths]
    for g in goldens:
        noise = g["bf16_next_token"]
        print(f"{name} {g['width']}: entropy {g['mean_entropy']:.2f}, bf16 run off by "
              f"{noise['mean']:.5f} mean, {noise['p99']:.5f} p99", flush=True)
    write_json(out / f"{name}.json.gz", goldens, True)
