#!/usr/bin/env python3
"""Writes a random dense MLA checkpoint of any shape: numpy only, a few MiB of memory, disk speed.

    random_model.py OUT_DIR [--layers 32 --hidden 2048 --heads 16 ...] [--tokenizer models/demo]
    random_model.py OUT_DIR --config configs/models/dynamla-1.json

The defaults are a model of the 2-billion-parameter class (1.83 B, 3.7 GB). Weights are bf16 with random
sign and mantissa and one exponent a tensor, about 1 / sqrt(columns) in size, so activations stay finite
at any depth. The tokenizer's files are copied; ids past its vocabulary have no text.
"""

import argparse
import json
import math
import pathlib
import shutil

import numpy as np

CHUNK_VALUES = 1 << 21
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                   "generation_config.json"]


def shapes(a):
    """(name, shape) of every tensor, in file order."""
    key, rows = a.nope + a.rope, []
    rows.append(("model.embed_tokens.weight", (a.vocab, a.hidden)))
    for i in range(a.layers):
        p = f"model.layers.{i}."
        rows.append((p + "input_layernorm.weight", (a.hidden,)))
        if a.q_rank:
            rows += [(p + "self_attn.q_a_proj.weight", (a.q_rank, a.hidden)),
                     (p + "self_attn.q_a_layernorm.weight", (a.q_rank,)),
                     (p + "self_attn.q_b_proj.weight", (a.heads * key, a.q_rank))]
        else:
            rows.append((p + "self_attn.q_proj.weight", (a.heads * key, a.hidden)))
        rows += [(p + "self_attn.kv_a_proj_with_mqa.weight", (a.kv_rank + a.rope, a.hidden)),
                 (p + "self_attn.kv_a_layernorm.weight", (a.kv_rank,)),
                 (p + "self_attn.kv_b_proj.weight", (a.groups * (a.nope + a.value), a.kv_rank)),
                 (p + "self_attn.o_proj.weight", (a.hidden, a.heads * a.value))]
        rows += [(f"{p}self_attn.{name}.weight", (size,)) for name, size in key_norms(a)]
        rows += [(p + "post_attention_layernorm.weight", (a.hidden,)),
                 (p + "mlp.gate_proj.weight", (a.mlp, a.hidden)),
                 (p + "mlp.up_proj.weight", (a.mlp, a.hidden)),
                 (p + "mlp.down_proj.weight", (a.hidden, a.mlp))]
    rows.append(("model.norm.weight", (a.hidden,)))
    if not a.tied:
        rows.append(("lm_head.weight", (a.vocab, a.hidden)))
    return rows


def key_norms(a):
    if a.qk_norm == "blockwise":
        sizes = [("q_content_norm", a.nope), ("q_rope_norm", a.rope),
                 ("k_content_norm", a.nope), ("k_rope_norm", a.rope)]
        return [(name, size) for name, size in sizes if size]
    if a.qk_norm == "unified":
        return [("q_norm", a.nope + a.rope), ("k_norm", a.nope + a.rope)]
    return []


def write_values(out, shape, rng):
    """bf16 values of one tensor, chunk by chunk: ones for a norm, else random at one exponent."""
    left = math.prod(shape)
    if len(shape) == 1:
        out.write(np.full(left, 0x3F80, np.uint16).tobytes())
        return
    exponent = round(math.log2(shape[1] ** -0.5 / 1.53)) + 127  # rms of [1, 2) is 1.53
    while left:
        count = min(left, CHUNK_VALUES)
        bits = np.frombuffer(rng.bytes(2 * count), np.uint16) & 0x807F
        out.write((bits | np.uint16(exponent << 7)).tobytes())
        left -= count


def write_file(path, tensors, rng):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb", buffering=0) as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors:
            write_values(out, shape, rng)


def sharded(tensors, limit):
    """Splits in order so that no file passes the limit unless one tensor alone does."""
    files, size = [[]], 0
    for name, shape in tensors:
        count = 2 * math.prod(shape)
        if files[-1] and size + count > limit:
            files.append([])
            size = 0
        files[-1].append((name, shape))
        size += count
    return files


# Sizes of a config.json, as options.
KEYS = {"layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
        "groups": "num_kv_groups", "q_rank": "q_lora_rank", "kv_rank": "kv_lora_rank",
        "nope": "qk_nope_head_dim", "rope": "qk_rope_head_dim", "value": "v_head_dim",
        "mlp": "intermediate_size", "vocab": "vocab_size", "context": "max_position_embeddings",
        "qk_norm": "qk_norm", "tied": "tie_word_embeddings"}
OUR_OWN = {"groups", "qk_norm"}  # absent from other families' files


def config(a):
    if a.config:
        return json.loads(a.config.read_text())
    values = {
        "architectures": ["LatentMlaForCausalLM"], "model_type": "latent_mla",
        "torch_dtype": "bfloat16", "vocab_size": a.vocab, "hidden_size": a.hidden,
        "num_hidden_layers": a.layers, "num_attention_heads": a.heads, "num_kv_groups": a.groups,
        "q_lora_rank": a.q_rank or None, "kv_lora_rank": a.kv_rank, "qk_nope_head_dim": a.nope,
        "qk_rope_head_dim": a.rope, "v_head_dim": a.value, "intermediate_size": a.mlp,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "qk_norm": a.qk_norm, "rope_theta": 10000.0,
        "max_position_embeddings": a.context, "tie_word_embeddings": a.tied, "bos_token_id": 0,
        "eos_token_id": [1, 5]}
    if a.elastic:
        q = [a.q_rank // 6, a.q_rank // 3, a.q_rank // 2, a.q_rank * 2 // 3, a.q_rank]
        kv = [a.kv_rank // 8, a.kv_rank // 4, a.kv_rank // 2, a.kv_rank * 3 // 4, a.kv_rank]
        values["elastic"] = {"q_lora_ranks": q, "kv_lora_ranks": kv, "mlp": "4*max(q,kv)"}
    return values


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("out", type=pathlib.Path)
    sizes = {"layers": 32, "hidden": 2048, "heads": 16, "groups": 0, "q-rank": 1536, "kv-rank": 512,
             "nope": 128, "rope": 64, "value": 128, "mlp": 6144, "vocab": 32768, "context": 32768}
    for name, default in sizes.items():
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--qk-norm", choices=["none", "blockwise", "unified"], default="none")
    p.add_argument("--elastic", action="store_true", help="declare the reference's nested ranks")
    p.add_argument("--tied", action="store_true")
    p.add_argument("--config", type=pathlib.Path, help="a config.json, which gives every size")
    p.add_argument("--shard-bytes", type=int, default=0, help="0: one file")
    p.add_argument("--tokenizer", type=pathlib.Path,
                   default=pathlib.Path(__file__).resolve().parents[2] / "models" / "demo")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    if a.config:
        values = json.loads(a.config.read_text())
        vars(a).update({name: values[key] for name, key in KEYS.items()
                        if key in values or name not in OUR_OWN})
    a.groups = a.groups or a.heads
    return a


def main():
    a = arguments()
    a.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(a.seed)
    tensors = shapes(a)
    (a.out / "config.json").write_text(json.dumps(config(a), indent=2) + "\n")
    files = sharded(tensors, a.shard_bytes) if a.shard_bytes else [tensors]
    if len(files) == 1:
        write_file(a.out / "model.safetensors", tensors, rng)
    else:
        weight_map = {}
        for i, part in enumerate(files):
            name = f"model-{i + 1:05}-of-{len(files):05}.safetensors"
            write_file(a.out / name, part, rng)
            weight_map.update({tensor: name for tensor, _ in part})
        total = sum(2 * math.prod(shape) for _, shape in tensors)
        (a.out / "model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1) + "\n")
    for name in TOKENIZER_FILES:
        if (a.tokenizer / name).exists():
            shutil.copy(a.tokenizer / name, a.out / name)
    count = sum(math.prod(shape) for _, shape in tensors)
    print(f"{a.out}: {count / 1e9:.3f} B parameters in {len(tensors)} tensors")


if __name__ == "__main__":
    main()
