// The arithmetic of the fake model: what a slot holds and how visible slots become logits. Shared
// by the fake executor, which reads slots back through block tables, and by the oracle, which has
// no cache.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace latentd {

// What the fake executor stores for one token, at the start of its row.
struct FakeSlot {
  uint32_t token = 0;
  uint32_t position = 0;
  uint64_t running =
      0;  // of this and all earlier tokens and the width; independent of the sequence
};

struct FakeModel {
  int64_t vocab_size = 32;
  std::optional<uint32_t> eos_token;  // drawn by the hash of the visible tokens, so reproducibly
  double eos_probability = 0;

  static uint64_t Mix(uint64_t x);
  // Of the empty prefix.
  static uint64_t Seed(int64_t width_q, int64_t width_kv);
  static FakeSlot Next(uint64_t running, uint32_t token, int64_t position);
  // Folds one more visible slot, in order of position, into a hash that began as 0.
  static uint64_t See(uint64_t seen, const FakeSlot& slot) {
    const uint64_t word = (slot.token | (uint64_t{slot.position} << 32)) + slot.running;
    const uint64_t product = (seen ^ word) * 0x9e3779b97f4a7c15;
    return product ^ (product >> 32);
  }
  // logits [vocab_size], each in [−8, 8) but for the end token, which is ±16.
  void Logits(uint64_t seen, std::span<float> logits) const;
};

// Index of the largest logit; ties go to the lower one.
uint32_t Argmax(std::span<const float> logits);

// One sequence computed alone, with no cache at all.
class SequenceOracle {
 public:
  SequenceOracle(const FakeModel& model, int64_t width_q, int64_t width_kv)
      : model_(model), running_(FakeModel::Seed(width_q, width_kv)) {}

  void Push(uint32_t token);
  // The greedy token after those pushed. REQUIRES: at least one.
  uint32_t Greedy() const;
  uint64_t seen() const { return seen_; }

 private:
  FakeModel model_;
  uint64_t running_;
  uint64_t seen_ = 0;
  int64_t position_ = 0;
};

}  // namespace latentd
