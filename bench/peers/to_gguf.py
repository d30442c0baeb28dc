#!/usr/bin/env python3
"""Converts a dense deepseek_v3 folder in bf16 to GGUF for llama.cpp's architecture deepseek2.

    to_gguf.py FOLDER FILE [bf16|q8_0]

Matrices keep their bits (bf16) or are quantised as llama.cpp's own tool does (q8_0); norms become F32.
llama.cpp wants kv_b_proj in two parts, both with the head outermost: the keys transposed, so that they
multiply the query, and the values as they are.
"""

import json
import pathlib
import sys

import gguf
import numpy as np

TENSORS = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TYPES = {"bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
         "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0)}


def read_safetensors(path):
    """(name, bf16 bits as uint16) of every tensor, mapped."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "BF16":
            raise ValueError(f"{name} is {entry['dtype']}; only BF16 is converted")
        begin, end = entry["data_offsets"]
        yield name, data[begin:end].view(np.uint16).reshape(entry["shape"])


def floats(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def renamed(name, bits, config):
    """(GGUF name, bits) of the one or two tensors that `name` becomes."""
    base = name.removesuffix(".weight")
    prefix = ""
    if base.startswith("model.layers."):
        layer, base = base.removeprefix("model.layers.").split(".", 1)
        prefix = f"blk.{layer}."
    if base != "self_attn.kv_b_proj":
        return [(f"{prefix}{TENSORS[base]}.weight", bits)]
    key, value = config["qk_nope_head_dim"], config["v_head_dim"]
    heads = bits.reshape(config["num_attention_heads"], key + value, config["kv_lora_rank"])
    return [(f"{prefix}attn_k_b.weight", heads[:, :key].transpose(0, 2, 1)),
            (f"{prefix}attn_v_b.weight", heads[:, key:])]


def add_tensor(writer, name, bits, kind):
    if bits.ndim == 1:
        writer.add_tensor(name, floats(bits))
    elif kind == gguf.GGMLQuantizationType.BF16:
        writer.add_tensor(name, np.ascontiguousarray(bits).view(np.uint8), raw_dtype=kind)
    else:
        writer.add_tensor(name, gguf.quants.quantize(floats(bits), kind), raw_dtype=kind)


def add_shape(writer, config):
    """The sizes; attention as llama.cpp sees it: one key and value head as wide as the latent."""
    rope, rank = config["qk_rope_head_dim"], config["kv_lora_rank"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_leading_dense_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_expert_feed_forward_length(config["intermediate_size"])  # asked for, and unused
    writer.add_expert_shared_count(0)
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(1)
    writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_kv_lora_rank(rank)
    writer.add_key_length(rank + rope)
    writer.add_value_length(rank)
    writer.add_key_length_mla(config["qk_nope_head_dim"] + rope)
    writer.add_value_length_mla(config["v_head_dim"])
    writer.add_rope_dimension_count(rope)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def add_tokenizer(writer, folder, config):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    model = tokenizer["model"]
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL
                            for i in range(len(tokens))])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)


def convert(folder, path, name):
    config = json.loads((folder / "config.json").read_text())
    kind, file_type = TYPES[name]
    writer = gguf.GGUFWriter(path, "deepseek2")
    writer.add_file_type(file_type)
    add_shape(writer, config)
    add_tokenizer(writer, folder, config)
    for source, bits in read_safetensors(folder / "model.safetensors"):
        for target, part in renamed(source, bits, config):
            add_tensor(writer, target, part, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    convert(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), (sys.argv[3:] or ["bf16"])[0])
