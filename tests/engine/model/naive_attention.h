// Latent attention in double precision, in the two forms of latent-attention.md section 2, each
// written as plainly as it can be and sharing nothing but rotation and matrix products. The oracle
// of key normalisation: the forms agree to 1e-12, and a form with a fault in it does not.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace latentd {

using NaiveVec = std::vector<double>;

// One sequence from position 0, before any key norm or rotation.
struct NaiveInputs {
  std::vector<NaiveVec> q;  // [T] H(d_n+d_r), per head content first
  std::vector<NaiveVec> c;  // [T] r, as the cache holds it
  std::vector<NaiveVec> k;  // [T] d_r, may be empty vectors
};

struct NaiveAttended {
  std::vector<NaiveVec> heads;   // [T] H·d_v: o_h of every head
  std::vector<NaiveVec> scores;  // [T·H] scaled scores of row t·H + h, tokens 0 … t
};

double At(const WeightView& w, int64_t row, int64_t col);  // w is F32 or BF16
NaiveVec MatVec(const WeightView& w, const NaiveVec& x);   // w is F32 or BF16
NaiveVec Part(const NaiveVec& x, int64_t begin, int64_t count);
// weight ⊙ x · ρ(x).
NaiveVec Norm(const NaiveVec& x, const std::vector<float>& weight, double eps);
void Rotate(NaiveVec& x, int64_t position, const RopeConfig& rope);

// Fully projected keys and values, each key normalised as a whole, then ordinary attention.
NaiveAttended NaiveExpanded(const ModelConfig& config, const LayerWeights& w,
                            const NaiveInputs& inputs);

// What an absorbed implementation can get wrong.
enum class AbsorbedFault : uint8_t {
  kNone,
  kAlphaLeftOut,
  kAlphaOnValues,         // the value path gets α·c
  kAlphaOnWrongTerms,     // blockwise: on the rotary term too; unified: on the content term alone
  kEpsilonOutsideRoot,    // α = 1 / (√mean + ε)
  kKeyGammaInsideNorm,    // α of γ_kC ⊙ k_C
  kKeyGammaLeftOut,       // q̃ without γ_kC
  kQueryGammaInsideNorm,  // ρ of γ_qC ⊙ q_C
  kOtherRotationOrder,    // qk_norm_before_rope the other way round
  kMeanOverContent,       // unified: the mean over d_n values instead of d_n + d_r
  kRotaryKeyScaled,       // unified: kR stored with α, and scaled again at the score
  kHeadsAcrossGroups,     // g(h) = h mod G
};
constexpr AbsorbedFault kLastAbsorbedFault = AbsorbedFault::kHeadsAcrossGroups;
// Whether a fault changes the result of this geometry at all.
bool Matters(AbsorbedFault fault, const ModelConfig& config);

// α per token and group, static weights on the query side, attention over c itself.
NaiveAttended NaiveAbsorbed(const ModelConfig& config, const LayerWeights& w,
                            const NaiveInputs& inputs, AbsorbedFault fault = AbsorbedFault::kNone);

}  // namespace latentd
