"""Tiny quantised checkpoints, and the same weights dequantised for the reference implementation.

Sizes are such that blocks are cut at both edges: fp8 matrices of 136, 144, 160, 208 and 224 rows or
columns, in blocks of 128. For int4 every row is a whole number of groups, as its format asks.
"""

import math

import tiny
import torch
from tiny_configs import DEEPSEEK

MOE = {**DEEPSEEK, "num_hidden_layers": 2, "n_routed_experts": 8, "hidden_size": 160}
FP8 = {
    **MOE, "intermediate_size": 208, "moe_intermediate_size": 136, "q_lora_rank": 72,
    "kv_lora_rank": 144,
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "weight_block_size": [128, 128]},
}
INT4 = {
    **MOE, "intermediate_size": 192, "moe_intermediate_size": 96, "q_lora_rank": 64,
    "kv_lora_rank": 96,
    "quantization_config": {
        "quant_method": "compressed-tensors", "format": "pack-quantized",
        "quantization_status": "compressed", "kv_cache_scheme": None, "ignore": ["lm_head"],
        "config_groups": {"group_0": {
            "targets": ["Linear"], "input_activations": None, "output_activations": None,
            "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group",
                        "group_size": 32, "dynamic": False, "actorder": None}}}},
}
# Seed 22 for int4 puts a greedy step where two groups of experts are 0.0002 apart: a coin toss.
QUANTISED = {"tiny-deepseek-v3-fp8": (FP8, 21), "tiny-deepseek-v3-int4": (INT4, 23)}
BLOCK, GROUP = 128, 32


def fp8(name, weight):
    """(tensors to store, what they are worth): e4m3, absolute maximum of a block at 448."""
    rows, columns = weight.shape
    scales = torch.empty(math.ceil(rows / BLOCK), math.ceil(columns / BLOCK))
    stored, worth = torch.empty(rows, columns, dtype=torch.float8_e4m3fn), torch.empty(rows, columns)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            part = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
            scales[i, j] = weight[part].abs().max() / 448
            stored[part] = (weight[part] / scales[i, j]).to(torch.float8_e4m3fn)
            worth[part] = stored[part].float() * scales[i, j]
    return {name: stored, name + "_scale_inv": scales}, worth


def int4(name, weight):
    """The same of packed int4: symmetric, bf16 scales, eight to an int32, value + 8, low half first."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // GROUP, GROUP)
    scales = (groups.abs().amax(-1) / 7).to(torch.bfloat16)
    values = (groups / scales.float()[..., None]).round().clamp(-8, 7)
    worth = (values * scales.float()[..., None]).reshape(rows, columns)
    halves = (values.reshape(rows, columns // 8, 8) + 8).to(torch.int64)
    words = (halves << torch.arange(0, 32, 4)).sum(-1)
    words = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
    return {name + "_packed": words, name + "_scale": scales,
            name + "_shape": torch.tensor([rows, columns])}, worth


def is_quantised(name):
    """Projections: not the embedding, the head, norms and the router."""
    return name.endswith("_proj.weight") or name.endswith("kv_a_proj_with_mqa.weight")


def write(name, folder, plain, demo, target_entropy, entropy_of):
    """Writes the quantised checkpoint to `folder` and its dequantised twin, in fp32, to `plain`.

    The final norm is set as tiny.write sets it: the mean entropy hits the target.
    """
    config, seed = QUANTISED[name]
    quantise = fp8 if name.endswith("fp8") else int4
    stored, worth = {}, {}
    for key, tensor in tiny.tensors_of(config, seed).items():
        if is_quantised(key):
            tensors, worth[key] = quantise(key, tensor.float())
            stored.update(tensors)
        else:
            stored[key] = worth[key] = tensor
    plain_config = {k: v for k, v in config.items() if k != "quantization_config"}
    tiny.save(plain, plain_config, {k: t.float() for k, t in worth.items()})
    tiny.write_tokenizer(plain, demo, name, config["vocab_size"])
    tuned = tiny.tuned_norm(worth["model.norm.weight"], target_entropy, entropy_of(plain))
    stored["model.norm.weight"] = worth["model.norm.weight"] = tuned
    tiny.save(plain, plain_config, {k: t.float() for k, t in worth.items()})
    tiny.save(folder, config, stored)
    tiny.write_tokenizer(folder, demo, name, config["vocab_size"])
