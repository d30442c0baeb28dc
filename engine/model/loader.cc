#include "engine/model/loader.h"

#include <utility>

#include "engine/model/checkpoint.h"
#include "engine/model/config_parts.h"
#include "engine/model/families.h"
#include "engine/model/message.h"
#include "engine/model/random_checkpoint.h"
#include "engine/model/read_weights.h"

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

  auto model = std::make_unique<Model>();
  absl::StatusOr<Weights> weights = ReadWeights(checkpoint, *config, options, &model->notes);
  if (!weights.ok()) return weights.status();
  model->weights = *std::move(weights);
  model->config = std::move(config->model);
  model->generation = *std::move(generation);
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
                                                             bool int8_weights) {
  absl::StatusOr<ParsedConfig> config = ParseConfig(config_json, /*served_context=*/0);
  if (!config.ok()) return config.status();
  config->quantisation.reset();
  // An int8 copy takes little more than half of its matrix (rows of a few columns, more).
  const auto checkpoint =
      std::make_shared<const RandomCheckpoint>(seed, int8_weights ? max_bytes / 8 * 5 : max_bytes);
  auto model = std::make_unique<Model>();
  absl::StatusOr<Weights> weights = ReadWeights(
      checkpoint, *config, {.progress = {}, .int8_weights = int8_weights}, &model->notes);
  if (checkpoint->is_full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("random weights of this model take more than the ", max_bytes, " bytes free"));
  }
  if (!weights.ok()) return weights.status();
  model->weights = *std::move(weights);
  model->config = std::move(config->model);
  model->generation.eos_token_ids = config->eos_token_ids;
  model->generation.bos_token_id = config->bos_token_id;
  return model;
}

std::vector<std::string> ServedFamilies() { return FamilyNames(); }

}  // namespace latentd
