// What the queries of a layer are multiplied by beside their projection: the same on every back
// end.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace latentd {

// What key normalisation folds into the query side: γ_qC ⊙ γ_kC [d_n], γ_qR [d_r], and both after
// one another. Empty without key norm.
struct QueryNorm {
  std::vector<float> content, rope, unified;
};
QueryNorm QueryNormOf(const LayerWeights& weights);

// The factor of the whole query at a position (Mistral 4; latent-attention.md section 2).
// REQUIRES: rope.query_context >= 1.
float QueryFactor(const RopeConfig& rope, int64_t position);

}  // namespace latentd
