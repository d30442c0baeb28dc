#include "engine/model/query_factors.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace latentd {

QueryNorm QueryNormOf(const LayerWeights& weights) {
  QueryNorm norm;
  norm.content.resize(weights.q_content_norm.size());
  std::transform(weights.q_content_norm.begin(), weights.q_content_norm.end(),
                 weights.k_content_norm.begin(), norm.content.begin(), std::multiplies<>());
  norm.rope = weights.q_rope_norm;
  norm.unified = norm.content;
  norm.unified.insert(norm.unified.end(), norm.rope.begin(), norm.rope.end());
  return norm;
}

float QueryFactor(const RopeConfig& rope, int64_t position) {
  const int64_t contexts = position / rope.query_context;
  if (contexts == 0) return 1;
  return static_cast<float>(1 + rope.query_beta * std::log1p(static_cast<double>(contexts)));
}

}  // namespace latentd
