// Model folders in: Hugging Face layout → ModelConfig + Weights. Nothing in a folder is executed.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace latentd {

// Defaults for sampling that a checkpoint ships (generation_config.json); absent keys are absent
// here.
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int32_t> top_k;
  std::vector<uint32_t> eos_token_ids;  // generation_config.json, else config.json
  std::optional<uint32_t> bos_token_id;
};

struct Model {
  ModelConfig config;
  Weights weights;
  GenerationDefaults generation;
  std::vector<std::string> notes;  // what the folder holds and is not used; one sentence each
};

// Called with bytes checked so far and in all, or copied where copies are made; may be empty.
using LoadProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

struct LoadOptions {
  LoadProgress progress;
  // For `inspect`: checks names, shapes, dtypes and norms, and touches none of the matrices. The
  // result must not be run.
  bool describe_only = false;
  // The most tokens that a sequence is asked to reach, 0: the model's own maximum. A model with
  // longrope chooses its rotary factors by it, once, so that a sequence's length never changes
  // them.
  int64_t served_context = 0;
  // The projections, experts and the head become copies in memory (docs/weights.md); those that are
  // stored quantised stay as they are.
  WeightCopies copies = WeightCopies::kNone;
  int num_threads = 1;  // that make them
  // What they may take, at most; absent: what the system has available. More is RESOURCE_EXHAUSTED.
  std::optional<uint64_t> available_bytes = std::nullopt;
};

// Reads and checks config.json, *.safetensors (with or without model.safetensors.index.json) and
// generation_config.json under `dir`. Matrices are mapped, not copied, unless the options say so.
// Every error is one sentence that names the file and the key or tensor. Time and memory are
// bounded by what the headers warrant.
absl::StatusOr<std::unique_ptr<const Model>> LoadModel(const std::string& dir,
                                                       const LoadOptions& options = {});

// A model of a config.json's text with random bf16 weights (random_checkpoint.h): same seed, same
// weights. Its quantization_config is left aside, key norms are those that `qk_norm` declares.
// RESOURCE_EXHAUSTED when they take more than max_bytes, copies beside them included.
absl::StatusOr<std::unique_ptr<const Model>> MakeRandomModel(
    std::string_view config_json, uint64_t seed, uint64_t max_bytes,
    WeightCopies copies = WeightCopies::kNone, int num_threads = 1);

// config.json alone, for a caller that has no weights (`inspect` before loading,
// `--random-weights`).
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json,
                                             int64_t served_context = 0);

// The model_type values that LoadModel accepts, in alphabetical order.
std::vector<std::string> ServedFamilies();

}  // namespace latentd
