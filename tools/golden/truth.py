"""Log-probabilities in float64 and bf16 of one reference model, and the goldens made of them."""

import json
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "demo"))
from model import LatentMla  # noqa: E402

TOP = 5
GREEDY_TOKENS = 32


# Families whose own code is that of another.
SAME_CODE = {"kimi_k2": "deepseek_v3"}


def reference_config(folder):
    """What transformers needs to be told to compute what the checkpoint's authors define."""
    from transformers import AutoConfig
    values = json.loads((folder / "config.json").read_text())
    model_type = values.pop("model_type")
    scaling = values.get("rope_scaling") or {}
    if scaling.get("type") == "longrope":
        # transformers chooses factors by the length of each input; the served context decides
        # here, and it is the longest there is.
        scaling["short_factor"] = scaling["long_factor"]
    return AutoConfig.for_model(SAME_CODE.get(model_type, model_type), **values)


def longcat(model_class, folder, settings):
    """transformers gives its identity experts rows in the fused weights, and cannot load a checkpoint
    that leaves them out, as the released ones do: here they are filled up with zeros."""
    from safetensors.torch import load_file
    config = settings["config"]
    stored = {n: t for n, t in load_file(folder / "model.safetensors").items() if ".mtp." not in n}
    inner, hidden = config.expert_ffn_hidden_size, config.hidden_size
    for i in range(config.num_layers):
        p = f"model.layers.{i}.mlp.experts."
        part = lambda e, name: stored.pop(f"{p}{e}.{name}_proj.weight")
        each = [(torch.cat((part(e, "gate"), part(e, "up"))), part(e, "down"))
                for e in range(config.n_routed_experts)]
        nothing = torch.zeros(config.zero_expert_num, 2 * inner, hidden, dtype=torch.bfloat16)
        stored[p + "gate_up_proj"] = torch.cat((torch.stack([g for g, _ in each]), nothing))
        stored[p + "down_proj"] = torch.stack([d for _, d in each])
    model = model_class(config).to(settings["dtype"])
    for layer in model.model.layers:  # selection stays in fp32
        router = layer.mlp.router
        router.e_score_correction_bias = router.e_score_correction_bias.float()
    model.load_state_dict(stored)
    return model.eval()


def reference(folder, dtype):
    """A function from rows of ids, equally long, to logits [rows, length, vocab] in the compute dtype,
    and the weight of the last norm, which may be set."""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "latent_mla":
        model = LatentMla.load(folder, dtype)
        return lambda rows: model(torch.tensor(rows)), None
    import transformers
    from transformers.utils import logging
    logging.disable_progress_bar()
    # Dequantised weights are stored in fp32: the truth computes with them as they are.
    settings = {"dtype": torch.bfloat16 if dtype == torch.bfloat16 else torch.float32,
                "config": reference_config(folder)}
    if config["model_type"] not in ("youtu", "minicpm3", "longcat_flash"):
        settings["experts_implementation"] = "eager"  # the grouped one knows no float64
    model_class = getattr(transformers, config["architectures"][0])
    if config["model_type"] == "longcat_flash":
        model = longcat(model_class, folder, settings)
    else:
        model = model_class.from_pretrained(folder, **settings).eval()
    if dtype != torch.bfloat16:
        model = model.to(dtype)
    return lambda rows: model(torch.tensor(rows), use_cache=False).logits, model.model.norm.weight.data


@torch.no_grad()
def log_probs(logits_of, ids):
    return torch.log_softmax(logits_of([ids])[0].double(), -1)


def entropy_of(folder, prompts):
    """A function from the last norm's weight to the mean entropy of the model with it, in nats."""
    logits_of, last_norm = reference(folder, torch.float32)

    def entropy(weight):
        last_norm.copy_(weight)
        rows = torch.cat([log_probs(logits_of, ids) for ids in prompts])
        return float(-(rows.exp() * rows).sum(-1).mean())
    return entropy


@torch.no_grad()
def greedy(logits_of, prompts):
    """The greedy continuations, with the lead of each token over the second best (in nats).

    All prompts at once, filled up on the right: nothing looks ahead, so filling changes nothing."""
    width = max(map(len, prompts)) + GREEDY_TOKENS
    rows = [list(ids) + [0] * (width - len(ids)) for ids in prompts]
    out = [([], []) for _ in prompts]
    for step in range(GREEDY_TOKENS):
        logits = logits_of(rows)
        for row, ids, (tokens, gaps), values in zip(rows, prompts, out, logits, strict=True):
            end = len(ids) + step
            best = torch.log_softmax(values[end - 1].double(), -1).topk(2)
            tokens.append(int(best.indices[0]))
            gaps.append(round(float(best.values[0] - best.values[1]), 6))
            row[end] = tokens[-1]
    return out


def spread(deltas):
    values = torch.cat(deltas).abs()
    return {"mean": float(values.mean()), "p99": float(values.quantile(0.99)),
            "max": float(values.max()), "positions": values.numel()}


def goldens(folder, prompts):
    """What tests/golden/<name>.json.gz holds; see its README."""
    exact, rounded = reference(folder, torch.float64)[0], reference(folder, torch.bfloat16)[0]
    rows, deltas, gap_deltas, entropy = [], [], [], []
    for ids, (tokens, gaps) in zip(prompts, greedy(exact, prompts), strict=True):
        truth, coarse = log_probs(exact, ids), log_probs(rounded, ids)
        following = torch.tensor(ids[1:])[:, None]
        following_truth = truth[:-1].gather(1, following)[:, 0]
        deltas.append(coarse[:-1].gather(1, following)[:, 0] - following_truth)
        top = truth.topk(TOP)
        two = coarse.gather(1, top.indices[:, :2])
        gap_deltas.append((two[:, 0] - two[:, 1]) - (top.values[:, 0] - top.values[:, 1]))
        entropy.append(-(truth.exp() * truth).sum(-1))
        rows.append({"ids": ids, "logprobs": [round(v, 6) for v in following_truth.tolist()],
                     "top_ids": top.indices.tolist(),
                     "top_logprobs": [[round(v, 6) for v in r] for r in top.values.tolist()],
                     "greedy": tokens, "greedy_gaps": gaps})
    return {"truth": "float64 compute of the stored bf16 weights",
            "bf16_next_token": spread(deltas), "bf16_top2_gap": spread(gap_deltas),
            "mean_entropy": float(torch.cat(entropy).mean()), "prompts": rows}
