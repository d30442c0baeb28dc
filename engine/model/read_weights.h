// The tensor list that a config implies, taken from a checkpoint.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/checkpoint.h"
#include "engine/model/config_parts.h"
#include "engine/model/loader.h"
#include "engine/model/weights.h"

namespace latentd {

// What the tensors themselves say about key normalisation. A declared `qk_norm` that contradicts
// them is refused.
absl::StatusOr<KeyNorm> InferKeyNorm(const Checkpoint& checkpoint, const ParsedConfig& config);

// REQUIRES: config.model.key_norm is settled. Remarks about tensors left alone are added to notes.
absl::StatusOr<Weights> ReadWeights(std::shared_ptr<const Checkpoint> checkpoint,
                                    const ParsedConfig& config, const LoadOptions& options,
                                    std::vector<std::string>* notes);

}  // namespace latentd
