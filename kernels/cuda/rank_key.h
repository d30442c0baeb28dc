// The order of the tokens of a row, descending logit, then ascending id, as ascending integers.
#pragma once

#include <bit>
#include <cstdint>

namespace latentd::cuda {

constexpr int kIdBits = 24;
constexpr int kRankKeyBits = 32 + kIdBits;
constexpr uint64_t kNoRankKey = ~uint64_t{0};  // after every token

// Descending; −0 and 0 are equal. REQUIRES: not NaN.
constexpr uint32_t LogitKey(float logit) {
  const auto bits = std::bit_cast<uint32_t>(logit == 0 ? 0.0F : logit);
  return bits >> 31 != 0 ? bits : bits ^ 0x7fffffff;
}
constexpr float LogitOfKey(uint32_t key) {
  return std::bit_cast<float>(key >> 31 != 0 ? key : key ^ 0x7fffffff);
}

// REQUIRES: id < 2^kIdBits.
constexpr uint64_t RankKey(float logit, int64_t id) {
  return uint64_t{LogitKey(logit)} << kIdBits | static_cast<uint64_t>(id);
}
constexpr uint32_t IdOfRankKey(uint64_t key) {
  return static_cast<uint32_t>(key) & ((1U << kIdBits) - 1);
}

}  // namespace latentd::cuda
