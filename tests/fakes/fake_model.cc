#include "tests/fakes/fake_model.h"

#include <algorithm>
#include <vector>

namespace latentd {

uint64_t FakeModel::Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t FakeModel::Seed(int64_t width_q, int64_t width_kv) {
  return Mix(Mix(static_cast<uint64_t>(width_q) + 1) + static_cast<uint64_t>(width_kv));
}

FakeSlot FakeModel::Next(uint64_t running, uint32_t token, int64_t position) {
  const auto p = static_cast<uint32_t>(position);
  return {token, p, Mix(running ^ Mix((uint64_t{token} << 32) + p + 1))};
}

void FakeModel::Logits(uint64_t seen, std::span<float> logits) const {
  for (size_t v = 0; v < logits.size(); ++v) {
    const uint64_t bits = Mix(seen + (v + 1) * 0x9e3779b97f4a7c15) >> 40;
    logits[v] = static_cast<float>(bits) * 0x1p-20f - 8;
  }
  if (eos_token) {
    const bool ends = static_cast<double>(Mix(~seen) >> 11) * 0x1p-53 < eos_probability;
    logits[*eos_token] = ends ? 16 : -16;
  }
}

uint32_t Argmax(std::span<const float> logits) {
  return static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

void SequenceOracle::Push(uint32_t token) {
  const FakeSlot slot = FakeModel::Next(running_, token, position_++);
  running_ = slot.running;
  seen_ = FakeModel::See(seen_, slot);
}

uint32_t SequenceOracle::Greedy() const {
  std::vector<float> logits(static_cast<size_t>(model_.vocab_size));
  model_.Logits(seen_, logits);
  return Argmax(logits);
}

}  // namespace latentd
