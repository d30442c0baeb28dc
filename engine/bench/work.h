// What `latentd bench` times, and the least that each piece of it has to move and compute.
#pragma once

#include <cstdint>

#include "engine/model/config.h"

namespace latentd {

// Prefill: one sequence takes `tokens` new tokens after `depth` cached ones, in as many steps as
// the token budget needs; the last wants a token. Decode: one step in which each of `batch`
// sequences takes one token after `depth` cached ones and wants the next.
struct BenchWork {
  enum class Kind { kPrefill, kDecode };
  Kind kind = Kind::kDecode;
  int64_t depth = 0;   // tokens
  int64_t batch = 1;   // sequences; 1 for prefill
  int64_t tokens = 1;  // per sequence; 1 for decode
  Width width;

  int64_t total_tokens() const { return batch * tokens; }
};

// Lower bounds: weights are read once a step, the cache once a step and sequence.
struct WorkCost {
  double bytes = 0;
  double flops = 0;  // a multiply-add counts two
};

// Bytes of a weight as the kernels read it: in the matrices that `--weights` turns into copies, in
// kv_b_proj, which stays as stored, and in the head.
struct WeightBytes {
  double projection = 2;
  double kv_b = 2;
  double head = 2;
};

// A layer's matrices, the absorbed products and attention as latent-attention.md section 2 has
// them: per query-key pair and layer 2·H·(2·w_kv + d_r) FLOP. Only experts that some token chose
// are read; how many depends on how alike the tokens choose, so the caller has to have seen it.
// cache_bytes_per_token: all layers. step_tokens: token budget of a step, >= 1. expert_runs: the
// experts that the steps of this work read, summed over steps and layers
// (Transformer::expert_runs). FLOPs take it that no choice is an identity expert.
WorkCost CostOf(const ModelConfig& model, const WeightBytes& weight_bytes,
                int64_t cache_bytes_per_token, int64_t step_tokens, const BenchWork& work,
                int64_t expert_runs = 0);

// The fewest experts that the steps of this work can read, where nobody saw which were chosen: all
// tokens of a step choose alike, and identity experts first. Summed over steps and layers.
int64_t LeastExpertRuns(const ModelConfig& model, int64_t step_tokens, const BenchWork& work);

}  // namespace latentd
