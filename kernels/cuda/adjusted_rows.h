// The rows that tokens are drawn from: the model's, with bias, penalties and masks applied.
#pragma once

#include <limits>

#include "kernels/cuda/body.h"
#include "kernels/cuda/sampler.h"
#include "kernels/sampling.h"

namespace latentd::cuda {

// A row with lists or a constraint is copied into the workspace and adjusted there, in four steps
// with a barrier behind each: Copy, AddBiases, Penalise, Mask. Other rows are read where they are.
struct AdjustedRows {
  static constexpr float kImpossible = -std::numeric_limits<float>::infinity();

  SamplerArgs args;

  LATENTD_HD int64_t Vocab() const { return args.logits.cols; }
  LATENTD_HD bool IsAdjusted(int64_t r) const {
    const SamplerRow& row = args.rows[r];
    return row.uses.count > 0 || row.biases.count > 0 || row.masked.count > 0 || row.allowed >= 0;
  }
  LATENTD_HD const float* Raw(int64_t r) const { return RowOf(args.logits, r); }
  LATENTD_HD const float* Logits(int64_t r) const {
    return IsAdjusted(r) ? args.adjusted + r * Vocab() : Raw(r);
  }

  // What the constraint does not allow stays at −inf through the steps that follow.
  LATENTD_HD void Copy(int64_t r, int64_t token) const {
    args.adjusted[r * Vocab() + token] =
        IsAllowed(args.rows[r], token) ? Raw(r)[token] : kImpossible;
  }
  LATENTD_HD void AddBiases(int64_t r, int thread, int num_threads) const {
    const ListRange list = args.rows[r].biases;
    for (uint32_t i = thread; i < list.count; i += num_threads) {
      const TokenBias& bias = args.biases[list.first + i];
      float& logit = Adjusted(r, bias.token);
      logit = ClampLogit(logit + bias.bias);
    }
  }
  LATENTD_HD void Penalise(int64_t r, int thread, int num_threads) const {
    const SamplerRow& row = args.rows[r];
    const Penalties penalise = {row.repetition_penalty, row.presence_penalty,
                                row.frequency_penalty};
    for (uint32_t i = thread; i < row.uses.count; i += num_threads) {
      const TokenUse& use = args.uses[row.uses.first + i];
      float& logit = Adjusted(r, use.token);
      logit = penalise(logit, use.generated);
    }
  }
  LATENTD_HD void Mask(int64_t r, int thread, int num_threads) const {
    const ListRange list = args.rows[r].masked;
    for (uint32_t i = thread; i < list.count; i += num_threads) {
      Adjusted(r, args.masked[list.first + i]) = kImpossible;
    }
  }

 private:
  LATENTD_HD float& Adjusted(int64_t r, uint32_t token) const {
    Require(token < Vocab());
    return args.adjusted[r * Vocab() + token];
  }
  LATENTD_HD bool IsAllowed(const SamplerRow& row, int64_t token) const {
    if (row.allowed < 0) return true;
    const uint32_t* mask = args.allowed + row.allowed * CeilDiv(Vocab(), 32);
    return (mask[token / 32] >> (token % 32) & 1) != 0;
  }
};

}  // namespace latentd::cuda
