// The model of latent-attention.md section 2 in double precision, written as plainly as it can be:
// expanded keys and values, explicit key normalisation, no cache, one sequence. The oracle of the
// transformer.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/weights.h"
#include "kernels/core/cache_format.h"
#include "tests/engine/model/naive_attention.h"

namespace latentd {

struct NaiveResult {
  std::vector<std::vector<double>> logits;  // [T][V]
  double largest_score = 0;                 // |scaled attention score|, for tolerances
};

using NaiveAttention =
    std::function<NaiveAttended(const ModelConfig&, const LayerWeights&, const NaiveInputs&)>;

// Weights must be F32 or BF16. c passes through the format of the cache.
NaiveResult NaiveForward(const ModelConfig& config, const Weights& weights,
                         const std::vector<uint32_t>& ids, CacheFormat cache,
                         const NaiveAttention& attention = NaiveExpanded);

}  // namespace latentd
