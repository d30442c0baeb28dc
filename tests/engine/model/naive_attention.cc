#include "tests/engine/model/naive_attention.h"

#include <algorithm>
#include <cmath>

namespace latentd {
namespace {

std::vector<float> Joined(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> out = a;
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

// Normalises and rotates one head's [content; rotary] vector, query or key alike.
NaiveVec Position(const ModelConfig& config, NaiveVec head, const std::vector<float>& content_norm,
                  const std::vector<float>& rope_norm, int64_t position) {
  const int64_t d_n = config.qk_nope_head_dim, d_r = config.qk_rope_head_dim;
  const double eps = static_cast<double>(config.qk_norm_eps);
  const auto normalise = [&] {
    if (config.key_norm == KeyNorm::kUnified) {
      head = Norm(head, Joined(content_norm, rope_norm), eps);
    } else if (config.key_norm == KeyNorm::kBlockwise) {
      NaiveVec content = Norm(Part(head, 0, d_n), content_norm, eps);
      if (d_r > 0) {
        const NaiveVec rope = Norm(Part(head, d_n, d_r), rope_norm, eps);
        content.insert(content.end(), rope.begin(), rope.end());
      }
      head = content;
    }
  };
  if (config.qk_norm_before_rope) normalise();
  NaiveVec rope = Part(head, d_n, d_r);
  Rotate(rope, position, config.rope);
  std::copy(rope.begin(), rope.end(), head.begin() + d_n);
  if (!config.qk_norm_before_rope) normalise();
  return head;
}

}  // namespace

double At(const WeightView& w, int64_t row, int64_t col) {
  const int64_t i = row * w.ld + col;
  return w.dtype == DType::kBF16 ? ToFloat(static_cast<const bf16*>(w.data)[i])
                                 : static_cast<const float*>(w.data)[i];
}

NaiveVec MatVec(const WeightView& w, const NaiveVec& x) {
  NaiveVec y(static_cast<size_t>(w.rows));
  for (int64_t i = 0; i < w.rows; ++i) {
    for (int64_t j = 0; j < w.cols; ++j) {
      y[static_cast<size_t>(i)] += At(w, i, j) * x[static_cast<size_t>(j)];
    }
  }
  return y;
}

NaiveVec Part(const NaiveVec& x, int64_t begin, int64_t count) {
  return {x.begin() + begin, x.begin() + begin + count};
}

NaiveVec Norm(const NaiveVec& x, const std::vector<float>& weight, double eps) {
  double squares = 0;
  for (double v : x) squares += v * v;
  const double rho = 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  NaiveVec y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * rho * static_cast<double>(weight[i]);
  return y;
}

void Rotate(NaiveVec& x, int64_t position, const RopeConfig& rope) {
  const size_t n = x.size() / 2;
  for (size_t j = 0; j < n; ++j) {
    const double angle = static_cast<double>(position) * rope.inv_freq[j];
    const double c = std::cos(angle) * static_cast<double>(rope.magnitude);
    const double s = std::sin(angle) * static_cast<double>(rope.magnitude);
    double& a = x[rope.interleaved ? 2 * j : j];
    double& b = x[rope.interleaved ? 2 * j + 1 : j + n];
    const double first = a * c - b * s, second = b * c + a * s;
    a = first;
    b = second;
  }
}

NaiveAttended NaiveExpanded(const ModelConfig& config, const LayerWeights& w,
                            const NaiveInputs& inputs) {
  const int64_t d_n = config.qk_nope_head_dim, d_r = config.qk_rope_head_dim;
  const int64_t d_v = config.v_head_dim;
  const auto length = static_cast<int64_t>(inputs.q.size());
  std::vector<std::vector<NaiveVec>> keys, values;  // [token][group]
  for (int64_t t = 0; t < length; ++t) {
    const NaiveVec up = MatVec(w.kv_b_proj, inputs.c[static_cast<size_t>(t)]);
    const NaiveVec& k = inputs.k[static_cast<size_t>(t)];
    auto& key_row = keys.emplace_back();
    auto& value_row = values.emplace_back();
    for (int64_t g = 0; g < config.num_kv_groups; ++g) {
      NaiveVec key = Part(up, g * (d_n + d_v), d_n);
      key.insert(key.end(), k.begin(), k.end());
      key_row.push_back(Position(config, key, w.k_content_norm, w.k_rope_norm, t));
      value_row.push_back(Part(up, g * (d_n + d_v) + d_n, d_v));
    }
  }
  NaiveAttended out;
  for (int64_t t = 0; t < length; ++t) {
    const NaiveVec& q = inputs.q[static_cast<size_t>(t)];
    NaiveVec heads;
    for (int64_t head = 0; head < config.num_heads; ++head) {
      const auto g = static_cast<size_t>(head * config.num_kv_groups / config.num_heads);
      const NaiveVec query = Position(config, Part(q, head * (d_n + d_r), d_n + d_r),
                                      w.q_content_norm, w.q_rope_norm, t);
      NaiveVec weights(static_cast<size_t>(t + 1));
      for (size_t s = 0; s < weights.size(); ++s) {
        for (size_t j = 0; j < query.size(); ++j) weights[s] += query[j] * keys[s][g][j];
        weights[s] *= static_cast<double>(config.softmax_scale);
      }
      out.scores.push_back(weights);
      const double top = *std::max_element(weights.begin(), weights.end());
      double sum = 0;
      for (double& v : weights) sum += v = std::exp(v - top);
      NaiveVec value(static_cast<size_t>(d_v));
      for (size_t s = 0; s < weights.size(); ++s) {
        for (size_t j = 0; j < value.size(); ++j) value[j] += weights[s] / sum * values[s][g][j];
      }
      heads.insert(heads.end(), value.begin(), value.end());
    }
    out.heads.push_back(heads);
  }
  return out;
}

}  // namespace latentd
