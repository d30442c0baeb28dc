#include "engine/model/loader.h"

#include <utility>

#include "engine/model/checkpoint.h"
#include "engine/model/config_parts.h"
#include "engine/model/families.h"
#include "engine/model/message.h"
#include "engine/model/random_checkpoint.h"
#include "engine/model/read_weights.h"
#include "engine/model/weight_copies.h"
#include "kernels/core/memory.h"

namespace latentd {
namespace {

constexpr uint64_t kMaxConfigBytes = 4 << 20;

absl::StatusOr<GenerationDefaults> ReadGeneration(const std::string& dir,
                                                  const ParsedConfig& config) {
  absl::StatusOr<std::string> text = ReadSmallFile(dir, "generation_config.json", kMaxConfigBytes);
  if (text.ok()) return ParseGenerationConfig(*text, config);
  if (!absl::IsNotFound(text.status())) return text.status();
  GenerationDefaults defaults;
  defaults.eos_token_ids = config.eos_token_ids;
  defaults.bos_token_id = config.bos_token_id;
  return defaults;
}

absl::Status Prefixed(std::string_view name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(Printable(name), ": ", status.message()));
}

absl::StatusOr<std::unique_ptr<const Model>> Load(const std::string& dir,
                                                  const LoadOptions& options) {
  absl::StatusOr<std::string> text = ReadSmallFile(dir, "config.json", kMaxConfigBytes);
  if (!text.ok()) return text.status();
  absl::StatusOr<ParsedConfig> config = ParseConfig(*text, options.served_context);
  if (!config.ok()) return config.status();
  absl::StatusOr<GenerationDefaults> generation = ReadGeneration(dir, *config);
  if (!generation.ok()) return generation.status();
  absl::StatusOr<std::unique_ptr<const Checkpoint>> opened = Checkpoint::Open(dir);
  if (!opened.ok()) return opened.status();
  const std::shared_ptr<const Checkpoint> checkpoint = *std::move(opened);
  absl::StatusOr<KeyNorm> key_norm = InferKeyNorm(*checkpoint, *config);
  if (!key_norm.ok()) return key_norm.status();
  config->model.key_norm = *key_norm;

  const bool copies = options.copies != WeightCopies::kNone && !options.describe_only;
  LoadOptions reading = options;
  if (copies) reading.progress = nullptr;  // reading is quick then; copying is not
  auto model = std::make_unique<Model>();
  absl::StatusOr<Weights> weights = ReadWeights(checkpoint, *config, reading, &model->notes);
  if (!weights.ok()) return weights.status();
  model->weights = *std::move(weights);
  model->config = std::move(config->model);
  model->generation = *std::move(generation);
  if (copies) {
    const uint64_t available = options.available_bytes.has_value()
                                   ? *options.available_bytes
                                   : static_cast<uint64_t>(AvailableMemoryBytes());
    const absl::Status status =
        MakeCopies({options.copies, options.num_threads, available, options.progress},
                   &model->weights, &model->notes);
    if (!status.ok()) return Prefixed(checkpoint->label(), status);
  }
  return model;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Model>> LoadModel(const std::string& dir,
                                                       const LoadOptions& options) {
  absl::StatusOr<std::unique_ptr<const Model>> model = Load(dir, options);
  if (model.ok()) return model;
  return absl::Status(model.status().code(),
                      absl::StrCat(Printable(dir), "/", model.status().message()));
}

absl::StatusOr<std::unique_ptr<const Model>> MakeRandomModel(std::string_view config_json,
                                                             uint64_t seed, uint64_t max_bytes,
                                                             WeightCopies copies, int num_threads) {
  absl::StatusOr<ParsedConfig> config = ParseConfig(config_json, /*served_context=*/0);
  if (!config.ok()) return config.status();
  config->quantisation.reset();
  const auto checkpoint = std::make_shared<const RandomCheckpoint>(seed, max_bytes);
  auto model = std::make_unique<Model>();
  absl::StatusOr<Weights> weights = ReadWeights(checkpoint, *config, {}, &model->notes);
  if (checkpoint->is_full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("random weights of this model take more than the ", max_bytes, " bytes free"));
  }
  if (!weights.ok()) return weights.status();
  model->weights = *std::move(weights);
  model->config = std::move(config->model);
  model->generation.eos_token_ids = config->eos_token_ids;
  model->generation.bos_token_id = config->bos_token_id;
  if (copies != WeightCopies::kNone) {
    const uint64_t available = max_bytes - model->weights.num_bytes;
    const absl::Status status =
        MakeCopies({copies, num_threads, available, {}}, &model->weights, &model->notes);
    if (!status.ok()) return Prefixed(checkpoint->label(), status);
  }
  return model;
}

std::vector<std::string> ServedFamilies() { return FamilyNames(); }

}  // namespace latentd
