// The absorbed form of tests/engine/model/naive_attention.h, and the faults that it can be given.
#include <algorithm>
#include <cmath>

#include "tests/engine/model/naive_attention.h"

namespace latentd {
namespace {

double Squares(const NaiveVec& x) {
  double sum = 0;
  for (double v : x) sum += v * v;
  return sum;
}

NaiveVec Times(NaiveVec x, const std::vector<float>& weight, double factor) {
  for (size_t i = 0; i < x.size(); ++i) x[i] *= factor * static_cast<double>(weight[i]);
  return x;
}

struct Absorbed {
  const ModelConfig& config;
  const LayerWeights& w;
  const NaiveInputs& inputs;
  AbsorbedFault fault;
  const int64_t d_n = config.qk_nope_head_dim, d_r = config.qk_rope_head_dim;
  const int64_t d_v = config.v_head_dim, r = config.kv_lora_rank;
  const int64_t heads = config.num_heads, groups = config.num_kv_groups;
  std::vector<NaiveVec> alphas = {};   // [token][group]
  std::vector<NaiveVec> k_ropes = {};  // [token], as stored

  bool Has(AbsorbedFault f) const { return fault == f; }
  bool blockwise() const { return config.key_norm == KeyNorm::kBlockwise; }
  bool unified() const { return config.key_norm == KeyNorm::kUnified; }
  bool norm_first() const {
    return config.qk_norm_before_rope != Has(AbsorbedFault::kOtherRotationOrder);
  }
  double Rho(double squares, int64_t count) const {
    return 1 / std::sqrt(squares / static_cast<double>(count) +
                         static_cast<double>(config.qk_norm_eps));
  }
  double KeyRho(double squares, int64_t count) const {
    if (!Has(AbsorbedFault::kEpsilonOutsideRoot)) return Rho(squares, count);
    return 1 / (std::sqrt(squares / static_cast<double>(count)) +
                static_cast<double>(config.qk_norm_eps));
  }

  // W_UK,g c.
  NaiveVec ContentKey(const NaiveVec& c, int64_t g) const {
    NaiveVec key(static_cast<size_t>(d_n));
    for (int64_t i = 0; i < d_n; ++i) {
      for (int64_t j = 0; j < r; ++j) {
        key[static_cast<size_t>(i)] +=
            At(w.kv_b_proj, g * (d_n + d_v) + i, j) * c[static_cast<size_t>(j)];
      }
    }
    if (!Has(AbsorbedFault::kKeyGammaInsideNorm)) return key;
    return Times(key, w.k_content_norm, 1);
  }

  void Write(int64_t t) {
    NaiveVec k = inputs.k[static_cast<size_t>(t)];
    if (!norm_first()) Rotate(k, t, config.rope);
    NaiveVec alpha(static_cast<size_t>(groups), 1);
    for (int64_t g = 0; g < groups && (blockwise() || unified()); ++g) {
      double squares = Squares(ContentKey(inputs.c[static_cast<size_t>(t)], g));
      if (unified()) squares += Squares(k);
      const bool both = unified() && !Has(AbsorbedFault::kMeanOverContent);
      alpha[static_cast<size_t>(g)] = KeyRho(squares, both ? d_n + d_r : d_n);
    }
    if (d_r > 0 && blockwise()) k = Times(k, w.k_rope_norm, Rho(Squares(k), d_r));
    if (d_r > 0 && unified()) {
      k = Times(k, w.k_rope_norm, Has(AbsorbedFault::kRotaryKeyScaled) ? alpha[0] : 1);
    }
    if (norm_first()) Rotate(k, t, config.rope);
    k_ropes.push_back(k);
    alphas.push_back(alpha);
  }

  // q̂ of one head, its content part and its rotary part.
  std::pair<NaiveVec, NaiveVec> Query(int64_t t, int64_t head) const {
    const NaiveVec& q = inputs.q[static_cast<size_t>(t)];
    NaiveVec content = Part(q, head * (d_n + d_r), d_n);
    NaiveVec rope = Part(q, head * (d_n + d_r) + d_n, d_r);
    if (!norm_first()) Rotate(rope, t, config.rope);
    NaiveVec measured = content;
    if (Has(AbsorbedFault::kQueryGammaInsideNorm)) measured = Times(content, w.q_content_norm, 1);
    if (blockwise()) {
      content = Times(content, w.q_content_norm, Rho(Squares(measured), d_n));
      if (d_r > 0) rope = Times(rope, w.q_rope_norm, Rho(Squares(rope), d_r));
    } else if (unified()) {
      const double rho = Rho(Squares(measured) + Squares(rope), d_n + d_r);
      content = Times(content, w.q_content_norm, rho);
      rope = Times(rope, w.q_rope_norm, rho);
    }
    if (norm_first()) Rotate(rope, t, config.rope);
    return {content, rope};
  }

  // q̃ = W_UK,gᵀ (q̂_C ⊙ γ_kC).
  NaiveVec AbsorbedQuery(NaiveVec content, int64_t g) const {
    const bool has_gamma = blockwise() || unified();
    if (has_gamma && !Has(AbsorbedFault::kKeyGammaLeftOut)) {
      content = Times(content, w.k_content_norm, 1);
    }
    NaiveVec q(static_cast<size_t>(r));
    for (int64_t j = 0; j < r; ++j) {
      for (int64_t i = 0; i < d_n; ++i) {
        q[static_cast<size_t>(j)] +=
            At(w.kv_b_proj, g * (d_n + d_v) + i, j) * content[static_cast<size_t>(i)];
      }
    }
    return q;
  }

  double Score(const NaiveVec& q, const NaiveVec& q_rope, int64_t s, int64_t g) const {
    const auto token = static_cast<size_t>(s);
    double content = 0, rotary = 0;
    for (size_t j = 0; j < q.size(); ++j) content += q[j] * inputs.c[token][j];
    for (size_t j = 0; j < q_rope.size(); ++j) rotary += q_rope[j] * k_ropes[token][j];
    const double alpha =
        Has(AbsorbedFault::kAlphaLeftOut) ? 1 : alphas[token][static_cast<size_t>(g)];
    const bool on_rotary = unified() != Has(AbsorbedFault::kAlphaOnWrongTerms);
    return static_cast<double>(config.softmax_scale) *
           (alpha * content + (on_rotary ? alpha : 1) * rotary);
  }

  // o_h of one row; appends its scores.
  NaiveVec Row(int64_t t, int64_t head, NaiveAttended* out) const {
    const int64_t g =
        Has(AbsorbedFault::kHeadsAcrossGroups) ? head % groups : head * groups / heads;
    const auto [content, rope] = Query(t, head);
    const NaiveVec q = AbsorbedQuery(content, g);
    NaiveVec scores;
    for (int64_t s = 0; s <= t; ++s) scores.push_back(Score(q, rope, s, g));
    out->scores.push_back(scores);
    const double top = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& v : scores) sum += v = std::exp(v - top);
    NaiveVec z(static_cast<size_t>(r));
    for (size_t s = 0; s < scores.size(); ++s) {
      const double alpha =
          Has(AbsorbedFault::kAlphaOnValues) ? alphas[s][static_cast<size_t>(g)] : 1;
      for (size_t j = 0; j < z.size(); ++j) z[j] += scores[s] / sum * alpha * inputs.c[s][j];
    }
    return MatVec(w.kv_b_proj.Rows(g * (d_n + d_v) + d_n, d_v), z);
  }
};

}  // namespace

bool Matters(AbsorbedFault fault, const ModelConfig& config) {
  const bool rope = config.qk_rope_head_dim > 0;
  switch (fault) {
    case AbsorbedFault::kNone:
      return false;
    case AbsorbedFault::kHeadsAcrossGroups:
      return config.num_kv_groups > 1 && config.num_kv_groups < config.num_heads;
    case AbsorbedFault::kMeanOverContent:
    case AbsorbedFault::kRotaryKeyScaled:
      return config.key_norm == KeyNorm::kUnified && rope;
    case AbsorbedFault::kAlphaOnWrongTerms:
    case AbsorbedFault::kOtherRotationOrder:
      return config.key_norm != KeyNorm::kNone && rope;
    default:
      return config.key_norm != KeyNorm::kNone;
  }
}

NaiveAttended NaiveAbsorbed(const ModelConfig& config, const LayerWeights& w,
                            const NaiveInputs& inputs, AbsorbedFault fault) {
  Absorbed absorbed{config, w, inputs, fault};
  const auto length = static_cast<int64_t>(inputs.q.size());
  for (int64_t t = 0; t < length; ++t) absorbed.Write(t);
  NaiveAttended out;
  for (int64_t t = 0; t < length; ++t) {
    NaiveVec& heads = out.heads.emplace_back();
    for (int64_t head = 0; head < config.num_heads; ++head) {
      const NaiveVec o = absorbed.Row(t, head, &out);
      heads.insert(heads.end(), o.begin(), o.end());
    }
  }
  return out;
}

}  // namespace latentd
