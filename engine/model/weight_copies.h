// Copies of a model's matrices in few bits (kernels/quantise.h), made when it is loaded.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/weights.h"

namespace latentd {

struct CopyOptions {
  WeightCopies format = WeightCopies::kNone;
  int num_threads = 1;
  uint64_t available_bytes = 0;  // that the copies may take
  // Told about bytes of the matrices that were copied, as they were stored; may be empty.
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

// Puts copies in the place of the projections, the experts and the head where those are stored
// plain, and keeps them in weights->copies; a note says how many. With int4 the head becomes int8:
// its rounding goes into the logits as it is (docs/weights.md says what that is worth).
// RESOURCE_EXHAUSTED, before anything is made, when the copies take more than there is. REQUIRES:
// a format, and matrices that may be read.
absl::Status MakeCopies(const CopyOptions& options, Weights* weights,
                        std::vector<std::string>* notes);

}  // namespace latentd
