// A checkpoint that has whatever it is asked for, in random numbers: `bench --random-weights`.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/model/checkpoint.h"

namespace latentd {

// bf16 throughout. Matrices have random signs and mantissas and a magnitude near 1 / sqrt(columns),
// so that activations keep their size at any depth; vectors lie in [0.5, 1). A tensor's values
// depend on the seed and on how many were asked for before. Not thread-safe while it is read.
class RandomCheckpoint : public Checkpoint {
 public:
  // Gives no tensor that would take it beyond max_bytes; is_full() says so.
  RandomCheckpoint(uint64_t seed, uint64_t max_bytes);

  const StoredTensor* Request(const std::string& name,
                              const std::vector<uint64_t>& shape) const override;
  bool is_full() const { return is_full_; }

 private:
  const std::string name_ = "random weights";
  std::vector<uint16_t> pattern_;  // of a prime length: sign and mantissa bits
  const uint64_t max_bytes_;
  mutable uint64_t num_bytes_ = 0;
  mutable bool is_full_ = false;
  mutable std::deque<TensorEntry> entries_;
  mutable std::deque<StoredTensor> made_;
  mutable std::vector<std::unique_ptr<uint16_t[]>> storage_;
};

}  // namespace latentd
