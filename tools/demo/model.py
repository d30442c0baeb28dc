"""latent_mla in plain PyTorch: expanded keys, explicit norms, no cache.

This is the definition that the demo model is trained with and the oracle that the server is compared
with. It follows docs of the model type literally: every width is a leading slice, every RMS is taken
over the slice. Nothing is absorbed, fused or rounded between operations beyond the dtype in use.
"""

import json
import pathlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    """The keys of config.json that the model reads; lengths in values, ranks at full width."""
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_kv_groups: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    intermediate_size: int
    rms_norm_eps: float
    qk_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    qk_norm: str = "blockwise"

    @staticmethod
    def load(folder):
        values = json.loads((pathlib.Path(folder) / "config.json").read_text())
        if values["model_type"] != "latent_mla" or values["qk_norm"] not in ("blockwise", "unified"):
            raise ValueError(f"{folder}: this definition covers key-normed latent_mla only")
        return Config(**{name: values[name] for name in Config.__dataclass_fields__})

    def mlp_width(self, w_q, w_kv):
        return min(self.intermediate_size, 4 * max(w_q, w_kv))


def rms_norm(x, weight, eps):
    """weight * x / sqrt(mean(x^2) + eps), the mean over the last dimension."""
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def rope_table(length, dim, theta, device=None, dtype=torch.float32):
    """cos and sin [length, dim / 2]; angles in float64 so that any dtype gets its nearest value."""
    inverse = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim)
    angles = torch.arange(length, dtype=torch.float64, device=device)[:, None] * inverse
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x, cos, sin):
    """Rotates adjacent pairs (x[2i], x[2i+1]) in place order. x [..., length, dim]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        key = c.qk_nope_head_dim + c.qk_rope_head_dim
        groups = c.num_kv_groups
        self.q_a_proj = nn.Linear(c.hidden_size, c.q_lora_rank, bias=False)
        self.q_a_layernorm = nn.RMSNorm(c.q_lora_rank)
        self.q_b_proj = nn.Linear(c.q_lora_rank, c.num_attention_heads * key, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(
            c.hidden_size, c.kv_lora_rank + c.qk_rope_head_dim, bias=False)
        self.kv_a_layernorm = nn.RMSNorm(c.kv_lora_rank)
        self.kv_b_proj = nn.Linear(
            c.kv_lora_rank, groups * (c.qk_nope_head_dim + c.v_head_dim), bias=False)
        if c.qk_norm == "unified":
            self.q_norm, self.k_norm = nn.RMSNorm(key), nn.RMSNorm(key)
        else:
            self.q_content_norm = nn.RMSNorm(c.qk_nope_head_dim)
            self.q_rope_norm = nn.RMSNorm(c.qk_rope_head_dim)
            self.k_content_norm = nn.RMSNorm(c.qk_nope_head_dim)
            self.k_rope_norm = nn.RMSNorm(c.qk_rope_head_dim)
        self.o_proj = nn.Linear(c.num_attention_heads * c.v_head_dim, c.hidden_size, bias=False)

    def normalised(self, which, content, rope, cos, sin):
        """content and rope, of equal leading dimensions, normalised as qk_norm says, rope rotated."""
        if self.c.qk_norm == "unified":
            whole = torch.cat((content, rope), -1)
            whole = rms_norm(whole, getattr(self, which + "_norm").weight, self.c.qk_norm_eps)
            content, rope = whole.split((content.shape[-1], rope.shape[-1]), -1)
        else:
            content, rope = (
                rms_norm(part, getattr(self, f"{which}_{name}_norm").weight, self.c.qk_norm_eps)
                for name, part in (("content", content), ("rope", rope)))
        return torch.cat((content, rotate(rope, cos, sin)), -1)

    def queries(self, x, w_q, cos, sin):
        """[batch, heads, length, d_n + d_r], normalised and rotated."""
        c, (batch, length, _) = self.c, x.shape
        a = F.linear(x, self.q_a_proj.weight[:w_q])
        a = rms_norm(a, self.q_a_layernorm.weight[:w_q], c.rms_norm_eps)
        q = F.linear(a, self.q_b_proj.weight[:, :w_q])
        q = q.view(batch, length, c.num_attention_heads, -1).transpose(1, 2)
        content, rope = q.split((c.qk_nope_head_dim, c.qk_rope_head_dim), -1)
        return self.normalised("q", content, rope, cos, sin)

    def keys_values(self, x, w_kv, cos, sin):
        """Expanded keys [batch, heads, length, d_n + d_r] and values [batch, heads, length, d_v]."""
        c, (batch, length, _) = self.c, x.shape
        weight = self.kv_a_proj_with_mqa.weight
        latent = F.linear(x, weight[:w_kv])
        latent = rms_norm(latent, self.kv_a_layernorm.weight[:w_kv], c.rms_norm_eps)
        rope = F.linear(x, weight[c.kv_lora_rank:])
        kv = F.linear(latent, self.kv_b_proj.weight[:, :w_kv])
        kv = kv.view(batch, length, c.num_kv_groups, -1).transpose(1, 2)
        content, value = kv.split((c.qk_nope_head_dim, c.v_head_dim), -1)
        rope = rope[:, None].expand(-1, c.num_kv_groups, -1, -1)
        key = self.normalised("k", content, rope, cos, sin)
        repeats = c.num_attention_heads // c.num_kv_groups
        return key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)

    def forward(self, x, w_q, w_kv, cos, sin):
        c = self.c
        query = self.queries(x, w_q, cos, sin)
        key, value = self.keys_values(x, w_kv, cos, sin)
        scale = (c.qk_nope_head_dim + c.qk_rope_head_dim) ** -0.5
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x, width):
        gate = F.linear(x, self.gate_proj.weight[:width])
        up = F.linear(x, self.up_proj.weight[:width])
        return F.linear(F.silu(gate) * up, self.down_proj.weight[:, :width])


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.input_layernorm = nn.RMSNorm(c.hidden_size)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden_size)
        self.mlp = Mlp(c)

    def forward(self, x, w_q, w_kv, cos, sin):
        eps = self.c.rms_norm_eps
        h = rms_norm(x, self.input_layernorm.weight, eps)
        x = x + self.self_attn(h, w_q, w_kv, cos, sin)
        h = rms_norm(x, self.post_attention_layernorm.weight, eps)
        return x + self.mlp(h, self.c.mlp_width(w_q, w_kv))


class Trunk(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = nn.RMSNorm(c.hidden_size)


class LatentMla(nn.Module):
    """Parameter names are the checkpoint's tensor names."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens, w_q=None, w_kv=None):
        """Logits [batch, length, vocab] of tokens [batch, length] from position 0 on."""
        c = self.config
        w_q, w_kv = w_q or c.q_lora_rank, w_kv or c.kv_lora_rank
        x = self.model.embed_tokens(tokens)
        cos, sin = rope_table(tokens.shape[1], c.qk_rope_head_dim, c.rope_theta, x.device, x.dtype)
        for layer in self.model.layers:
            x = layer(x, w_q, w_kv, cos, sin)
        return self.lm_head(rms_norm(x, self.model.norm.weight, c.rms_norm_eps))

    @staticmethod
    def load(folder, dtype=torch.float32):
        """The checkpoint of a folder (config.json, model.safetensors), weights cast to dtype."""
        from safetensors.torch import load_file
        model = LatentMla(Config.load(folder))
        state = load_file(pathlib.Path(folder) / "model.safetensors")
        if model.config.tie_word_embeddings:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        model.load_state_dict(state)
        return model.to(dtype).eval()
