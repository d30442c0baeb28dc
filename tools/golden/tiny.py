"""Tiny random checkpoints of the public families, for goldens: weights by numpy from a fixed seed.

The latents are small enough for the epsilon of their norm to matter; norm weights are far from 1.
"""

import json
import math

import numpy as np
import torch
from safetensors.torch import save_file
from tiny_configs import FUSED, TINY, TWO_FILES

SMALL = 1 / 128  # of latents: mean square near 6e-5, so that an epsilon of 1e-5 in their norm shows


NO_SELECTION_BIAS = ("deepseek_v2", "mistral4")


class Weights:
    """Draws named tensors in order; matrices of gain / sqrt(columns), norms between 0.5 and 1.5."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.tensors = {}

    def matrix(self, name, rows, columns, gain=1.0):
        values = self.rng.standard_normal((rows, columns)) * gain / math.sqrt(columns)
        self.tensors[name + ".weight"] = torch.from_numpy(values).to(torch.bfloat16)

    def norm(self, name, size):
        values = self.rng.uniform(0.5, 1.5, size)
        self.tensors[name + ".weight"] = torch.from_numpy(values).to(torch.bfloat16)

    def bias(self, name, size, spread):
        values = self.rng.uniform(-spread, spread, size)
        self.tensors[name] = torch.from_numpy(values).to(torch.bfloat16)

    def mlp(self, name, hidden, inner, gain=1.0):
        self.matrix(name + ".gate_proj", inner, hidden, 1.5)
        self.matrix(name + ".up_proj", inner, hidden)
        self.matrix(name + ".down_proj", hidden, inner, gain)


def attention(w, p, c):
    key, heads = c["qk_nope_head_dim"] + c["qk_rope_head_dim"], c["num_attention_heads"]
    if c["q_lora_rank"]:
        w.matrix(p + "q_a_proj", c["q_lora_rank"], c["hidden_size"], SMALL)
        w.norm(p + "q_a_layernorm", c["q_lora_rank"])
        # Where latents are scaled, scores are kept as large as elsewhere: beyond that, rounding rules.
        scaled = c["hidden_size"] ** 2 / (c["q_lora_rank"] * c["kv_lora_rank"])
        gain = 1.5 / math.sqrt(scaled) if c.get("mla_scale_q_lora") else 1.5
        w.matrix(p + "q_b_proj", heads * key, c["q_lora_rank"], gain)
    else:
        w.matrix(p + "q_proj", heads * key, c["hidden_size"], 1.5)
    w.matrix(p + "kv_a_proj_with_mqa", c["kv_lora_rank"] + c["qk_rope_head_dim"], c["hidden_size"])
    latent = w.tensors[p + "kv_a_proj_with_mqa.weight"][:c["kv_lora_rank"]]
    latent.mul_(SMALL)
    w.norm(p + "kv_a_layernorm", c["kv_lora_rank"])
    value = c.get("v_head_dim", c["hidden_size"] // heads)
    w.matrix(p + "kv_b_proj", heads * (c["qk_nope_head_dim"] + value), c["kv_lora_rank"])
    w.matrix(p + "o_proj", c["hidden_size"], heads * value, 1.5)
    if c["attention_bias"]:
        w.bias(p + "q_a_proj.bias", c["q_lora_rank"], SMALL)
        w.bias(p + "kv_a_proj_with_mqa.bias", c["kv_lora_rank"] + c["qk_rope_head_dim"], SMALL)
        w.bias(p + "o_proj.bias", c["hidden_size"], 0.5)


def experts(w, p, c):
    hidden, inner, count = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    w.matrix(p + "gate", count, hidden)
    if c["model_type"] not in NO_SELECTION_BIAS:
        bias = w.rng.uniform(-0.3, 0.3, count).astype(np.float32)
        w.tensors[p + "gate.e_score_correction_bias"] = torch.from_numpy(bias)
    for i in range(count):
        # Half size: where two experts tie, rounding picks another one, and a whole output with it.
        w.mlp(f"{p}experts.{i}", hidden, inner, 0.5)
    w.mlp(p + "shared_experts", hidden, inner * c["n_shared_experts"])


def layer(w, p, c, index):
    hidden = c["hidden_size"]
    w.norm(p + "input_layernorm", hidden)
    attention(w, p + "self_attn.", c)
    w.norm(p + "post_attention_layernorm", hidden)
    if index < num_dense(c):
        w.mlp(p + "mlp", hidden, c["intermediate_size"])
    else:
        experts(w, p + "mlp.", c)


def double_layer(w, p, c):
    """LongCat's: attention, MLP, attention, MLP, and experts beside the first MLP."""
    hidden, count = c["hidden_size"], c["n_routed_experts"]
    for half in range(2):
        w.norm(f"{p}input_layernorm.{half}", hidden)
        attention(w, f"{p}self_attn.{half}.", c)
        w.norm(f"{p}post_attention_layernorm.{half}", hidden)
        w.mlp(f"{p}mlps.{half}", hidden, c["ffn_hidden_size"])
    routed = count + c["zero_expert_num"]
    w.matrix(p + "mlp.router.classifier", routed, hidden)
    bias = w.rng.uniform(-0.05, 0.05, routed).astype(np.float32)  # scores are near 1 / routed
    w.tensors[p + "mlp.router.e_score_correction_bias"] = torch.from_numpy(bias)
    for i in range(count):
        w.mlp(f"{p}mlp.experts.{i}", hidden, c["expert_ffn_hidden_size"], 0.3)


def num_dense(c):
    words = c.get("mlp_layer_types", [])
    return c.get("first_k_dense_replace", words.count("dense") or c["num_hidden_layers"])


def prediction_layer(w, p, c):
    """A multi-token prediction layer: no part of the answer."""
    hidden = c["hidden_size"]
    for name in ("enorm", "hnorm", "shared_head.norm"):
        w.norm(p + name, hidden)
    w.matrix(p + "eh_proj", hidden, 2 * hidden)
    attention(w, p + "self_attn.", c)


def tensors_of(c, seed):
    """All tensors under the names that public checkpoints use, experts one by one."""
    w, hidden = Weights(seed), c["hidden_size"]
    w.matrix("model.embed_tokens", c["vocab_size"], hidden)
    # Rows of size 4 where the residual stream begins, against branches of about 1 each.
    w.tensors["model.embed_tokens.weight"] *= 4 / c.get("scale_emb", 1)
    if c["model_type"] == "longcat_flash":
        for i in range(c["num_layers"]):
            double_layer(w, f"model.layers.{i}.", c)
        prediction_layer(w, "model.mtp.layers.0.", c)
    else:
        for i in range(c["num_hidden_layers"]):
            layer(w, f"model.layers.{i}.", c, i)
    w.norm("model.norm", hidden)
    if not c["tie_word_embeddings"]:
        w.matrix("lm_head", c["vocab_size"], hidden)
    if c.get("num_nextn_predict_layers"):
        prediction_layer(w, f"model.layers.{c['num_hidden_layers']}.", c)
    return w.tensors


def fuse_experts(tensors, c):
    """Replaces per-expert tensors by gate_up_proj [E, 2 inner, hidden] and down_proj [E, hidden, inner]."""
    fused = {n: t for n, t in tensors.items() if ".mlp.experts." not in n}
    for i in range(c["first_k_dense_replace"], c["num_hidden_layers"]):
        p = f"model.layers.{i}.mlp.experts."
        each = [[tensors[f"{p}{e}.{part}_proj.weight"] for part in ("gate", "up", "down")]
                for e in range(c["n_routed_experts"])]
        fused[p + "gate_up_proj"] = torch.stack([torch.cat((g, u)) for g, u, _ in each])
        fused[p + "down_proj"] = torch.stack([d for _, _, d in each])
    return fused


def save(folder, config, tensors, files=1):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if files == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "model.safetensors").chmod(0o644)
        return
    names, weight_map = sorted(tensors), {}
    for i in range(files):
        part = names[i * len(names) // files:(i + 1) * len(names) // files]
        name = f"model-{i + 1:05}-of-{files:05}.safetensors"
        save_file({n: tensors[n] for n in part}, folder / name, metadata={"format": "pt"})
        (folder / name).chmod(0o644)
        weight_map.update({n: name for n in part})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": size}, "weight_map": weight_map}, indent=1) + "\n")


def small_tokenizer(source, vocab_size, bos):
    """The first vocab_size tokens of a byte-level BPE file; merges are in order of rank, so it is whole."""
    value = json.loads(source.read_text(encoding="utf-8"))
    model = value["model"]
    model["vocab"] = {t: i for t, i in model["vocab"].items() if i < vocab_size}
    kept = model["vocab"]
    model["merges"] = [m for m in model["merges"] if "".join(m) in kept]
    if not bos:
        value["post_processor"] = value["post_processor"]["processors"][0]
    return value


def write_tokenizer(folder, source, name, vocab_size):
    """tiny-youtu: no BOS and its template in its own file; the others: BOS, and no template at all."""
    bos = name != "tiny-youtu"
    value = small_tokenizer(source / "tokenizer.json", vocab_size, bos)
    (folder / "tokenizer.json").write_text(json.dumps(value, ensure_ascii=False) + "\n",
                                           encoding="utf-8")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512,
                "bos_token": "<|bos|>", "eos_token": "<|eos|>", "add_bos_token": bos,
                "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    if not bos:
        (folder / "chat_template.jinja").write_text(
            "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
            "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}")


def tuned_norm(weight, target_entropy, entropy):
    """The last norm's weight at a gain with which entropy(weight) is near the target."""
    base, low, high = weight.double(), 0.01, 100.0
    for _ in range(12):
        gain = math.sqrt(low * high)
        tuned = (base * gain).to(torch.bfloat16)
        low, high = (gain, high) if entropy(tuned) > target_entropy else (low, gain)
    return tuned


def write(name, folder, demo, target_entropy, entropy_of):
    """Writes one checkpoint; the head's gain is then set so that the mean entropy hits the target.

    entropy_of(folder) gives a function of the final norm's weight, the knob for a tied head too.
    """
    config, seed = TINY[name]
    tensors = tensors_of(config, seed)
    stored = fuse_experts(tensors, config) if name in FUSED else tensors
    files = 2 if name in TWO_FILES else 1
    save(folder, config, stored, files)
    write_tokenizer(folder, demo, name, config["vocab_size"])
    stored["model.norm.weight"] = tuned_norm(stored["model.norm.weight"], target_entropy,
                                             entropy_of(folder))
    save(folder, config, stored, files)
