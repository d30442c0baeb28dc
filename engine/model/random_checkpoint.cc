#include "engine/model/random_checkpoint.h"

#include <bit>
#include <random>

namespace latentd {
namespace {

constexpr size_t kPattern = 1'048'573;  // prime, so that no two rows of a usual length are alike
constexpr uint16_t kSignAndMantissa = 0x807F;
constexpr int kBias = 127, kMantissaBits = 7;

// Of 2^e <= 1 / sqrt(columns) < 2^(e+1); of 0.5 for a vector.
uint16_t Exponent(const std::vector<uint64_t>& shape) {
  const int halvings = shape.size() < 2 ? 1 : (std::bit_width(shape.back()) + 1) / 2;
  return static_cast<uint16_t>((kBias - halvings) << kMantissaBits);
}

}  // namespace

RandomCheckpoint::RandomCheckpoint(uint64_t seed, uint64_t max_bytes)
    : pattern_(kPattern), max_bytes_(max_bytes) {
  set_label(name_);
  std::mt19937_64 random(seed);
  for (uint16_t& bits : pattern_) bits = static_cast<uint16_t>(random()) & kSignAndMantissa;
}

const StoredTensor* RandomCheckpoint::Request(const std::string& name,
                                              const std::vector<uint64_t>& shape) const {
  uint64_t count = 1;
  for (const uint64_t n : shape) count *= n;  // the config's checks keep it below 2^56
  const uint64_t bytes = count * sizeof(uint16_t);
  is_full_ = is_full_ || bytes > max_bytes_ - num_bytes_;
  if (is_full_) return nullptr;
  storage_.push_back(std::make_unique_for_overwrite<uint16_t[]>(count));
  uint16_t* const values = storage_.back().get();
  const uint16_t exponent = Exponent(shape);
  const uint16_t mask = shape.size() < 2 ? 0x7FFF : 0xFFFF;  // a norm's weights are positive
  size_t next = made_.size() * 7919 % kPattern;
  for (uint64_t i = 0; i < count; ++i) {
    values[i] = (pattern_[next] | exponent) & mask;
    if (++next == kPattern) next = 0;
  }
  entries_.push_back({name, FindStoredType("BF16"), shape, num_bytes_, num_bytes_ + bytes});
  num_bytes_ += bytes;
  made_.push_back({&entries_.back(), reinterpret_cast<const std::byte*>(values), &name_});
  return &made_.back();
}

}  // namespace latentd
