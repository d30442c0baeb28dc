"""config.json of the tiny checkpoints: a row for each, small in every dimension.

Each aims at what a loader or a kernel gets wrong: rms_norm_eps differs from the 1e-6 of the latent
norms, no two dimensions that could be swapped are equal, and the rotary scaling changes something
within the 200 tokens of the longest prompt.
"""

DEEPSEEK = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
    "torch_dtype": "bfloat16", "vocab_size": 512, "hidden_size": 96, "intermediate_size": 160,
    "moe_intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 4, "n_shared_experts": 1, "n_routed_experts": 16,
    "routed_scaling_factor": 2.5, "kv_lora_rank": 48, "q_lora_rank": 40, "qk_rope_head_dim": 16,
    "v_head_dim": 24, "qk_nope_head_dim": 32, "n_group": 4, "topk_group": 2,
    "num_experts_per_tok": 4, "first_k_dense_replace": 1, "norm_topk_prob": True,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "hidden_act": "silu",
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    "rope_theta": 10000.0, "rope_interleave": True, "attention_bias": False,
    "rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64,
                     "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 0.8},
    "num_nextn_predict_layers": 0, "bos_token_id": 0, "eos_token_id": 1,
}
# As a newer transformers saves it: fused experts, rope_parameters; no query rank, one expert group,
# unnormalised routing weights, two shared experts, two files.
DEEPSEEK_FUSED = {
    **{k: v for k, v in DEEPSEEK.items() if k not in ("rope_theta", "rope_scaling")},
    "q_lora_rank": None, "kv_lora_rank": 64, "num_hidden_layers": 2, "num_attention_heads": 5,
    "num_key_value_heads": 5, "n_group": 1, "topk_group": 1, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "norm_topk_prob": False, "n_shared_experts": 2,
    "routed_scaling_factor": 1.5, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50000.0},
}
YOUTU = {
    "architectures": ["YoutuForCausalLM"], "model_type": "youtu", "torch_dtype": "bfloat16",
    "vocab_size": 512, "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 6, "kv_lora_rank": 64, "q_lora_rank": 80,
    "qk_rope_head_dim": 16, "v_head_dim": 40, "qk_nope_head_dim": 24, "hidden_act": "silu",
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
    "rope_theta": 1600000.0, "rope_interleave": True, "attention_bias": False,
    "bos_token_id": 0, "eos_token_id": 1,
}
# Group-limited routing by the best of each group, weights unnormalised, and YaRN's m² of 1.4; the
# query has a rank.
DEEPSEEK_V2 = {
    **{k: v for k, v in DEEPSEEK.items() if k not in ("scoring_func", "rope_interleave")},
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 80,
    "num_hidden_layers": 2, "n_routed_experts": 12, "num_experts_per_tok": 3, "n_shared_experts": 2,
    "topk_method": "group_limited_greedy", "scoring_func": "softmax", "norm_topk_prob": False,
    "routed_scaling_factor": 4.0, "moe_layer_freq": 1,
    "rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64,
                     "beta_fast": 32, "beta_slow": 1, "mscale": 0.9, "mscale_all_dim": 0.9},
}
# As V2-Lite: the query projected directly, no groups.
DEEPSEEK_V2_LITE = {
    **DEEPSEEK_V2, "q_lora_rank": None, "kv_lora_rank": 64, "num_attention_heads": 5,
    "num_key_value_heads": 5, "n_group": 1, "topk_group": 1, "topk_method": "greedy",
    "routed_scaling_factor": 1.0,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 16,
                     "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707},
}
# The code of deepseek_v3 under a name of its own; one group, beta_fast = beta_slow = 1.
KIMI_K2 = {
    **DEEPSEEK, "model_type": "kimi_k2", "hidden_size": 80, "num_hidden_layers": 2,
    "num_attention_heads": 3, "num_key_value_heads": 3, "n_group": 1, "topk_group": 1,
    "n_routed_experts": 12, "routed_scaling_factor": 2.827, "rope_theta": 50000.0,
    "rope_scaling": {"type": "yarn", "factor": 32.0, "original_max_position_embeddings": 16,
                     "beta_fast": 1.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0},
}
# Values wider than content keys; biases on the projections that may have one; a prediction layer
# after the last, which is set aside; mlp_layer_types in place of first_k_dense_replace.
GLM4_MOE_LITE = {
    **{k: v for k, v in DEEPSEEK.items()
       if k not in ("rope_theta", "rope_scaling", "first_k_dense_replace", "scoring_func")},
    "architectures": ["Glm4MoeLiteForCausalLM"], "model_type": "glm4_moe_lite", "hidden_size": 80,
    "num_hidden_layers": 2, "num_attention_heads": 5, "num_key_value_heads": 5,
    "qk_nope_head_dim": 24, "v_head_dim": 40, "n_group": 1, "topk_group": 1,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "routed_scaling_factor": 1.8,
    "mlp_layer_types": ["dense", "sparse"], "attention_bias": True, "num_nextn_predict_layers": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0,
                        "partial_rotary_factor": 1.0},
}
# The query grows with its position; softmax routing in groups by their two best, normalised; every
# layer has experts, stored fused.
MISTRAL4 = {
    **{k: v for k, v in DEEPSEEK.items()
       if k not in ("rope_theta", "rope_scaling", "scoring_func", "topk_method")},
    "architectures": ["Mistral4ForCausalLM"], "model_type": "mistral4", "hidden_size": 80,
    "num_hidden_layers": 2, "kv_lora_rank": 64, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16,
    "v_head_dim": 32, "n_routed_experts": 12, "n_group": 3, "topk_group": 2,
    "num_experts_per_tok": 3, "routed_scaling_factor": 1.0, "first_k_dense_replace": 0,
    "rope_parameters": {"type": "yarn", "rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0,
                        "original_max_position_embeddings": 32, "max_position_embeddings": 512,
                        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
                        "llama_4_scaling_beta": 0.3, "partial_rotary_factor": 0.5},
}
# Halves rotate; long rotary factors (the served context is beyond the original one), with the
# magnitude that belongs to them; embeddings, branches and the last hidden state scaled.
MINICPM3 = {
    "architectures": ["MiniCPM3ForCausalLM"], "model_type": "minicpm3", "torch_dtype": "bfloat16",
    "vocab_size": 512, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 6, "kv_lora_rank": 48, "q_lora_rank": 40,
    "qk_rope_head_dim": 16, "qk_nope_head_dim": 24, "hidden_act": "silu",
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
    "rope_theta": 10000.0, "attention_bias": False, "scale_emb": 12, "scale_depth": 1.4,
    "dim_model_base": 24, "bos_token_id": 0, "eos_token_id": 1,
    "rope_scaling": {"type": "longrope", "original_max_position_embeddings": 128,
                     "short_factor": [1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5],
                     "long_factor": [1.0, 1.1, 1.3, 1.8, 2.5, 3.5, 5.0, 8.0]},
}
# Two attentions and two dense MLPs a layer, experts beside the first of them, three of twelve
# identities; latents scaled; a prediction layer under a prefix of its own.
LONGCAT_FLASH = {
    "architectures": ["LongcatFlashForCausalLM"], "model_type": "longcat_flash",
    "torch_dtype": "bfloat16", "vocab_size": 512, "hidden_size": 80, "ffn_hidden_size": 96,
    "expert_ffn_hidden_size": 24, "num_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "kv_lora_rank": 48, "q_lora_rank": 40, "qk_rope_head_dim": 16,
    "v_head_dim": 24, "qk_nope_head_dim": 32, "head_dim": 16, "n_routed_experts": 9,
    "zero_expert_num": 3, "zero_expert_type": "identity", "moe_topk": 4,
    "routed_scaling_factor": 3.0, "norm_topk_prob": False, "router_bias": False,
    "mla_scale_q_lora": True, "mla_scale_kv_lora": True, "hidden_act": "silu",
    "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    "rope_theta": 10000000.0, "attention_bias": False, "bos_token_id": 0, "eos_token_id": 1,
}
TINY = {
    "tiny-deepseek-v3": (DEEPSEEK, 11), "tiny-deepseek-v3-fused": (DEEPSEEK_FUSED, 12),
    "tiny-youtu": (YOUTU, 13), "tiny-deepseek-v2": (DEEPSEEK_V2, 14),
    "tiny-deepseek-v2-lite": (DEEPSEEK_V2_LITE, 15), "tiny-kimi-k2": (KIMI_K2, 26),
    "tiny-glm4-moe-lite": (GLM4_MOE_LITE, 17), "tiny-mistral4": (MISTRAL4, 18),
    "tiny-minicpm3": (MINICPM3, 19), "tiny-longcat-flash": (LONGCAT_FLASH, 27),
}
FUSED = ("tiny-deepseek-v3-fused", "tiny-mistral4")  # experts stored fused
TWO_FILES = ("tiny-deepseek-v3-fused",)
