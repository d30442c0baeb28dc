// From options to a loaded model.
#include "server/program.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "server/cli/progress.h"
#include "server/model_dir.h"
#include "server/validate.h"

namespace latentd {

std::optional<v1::Width> DefaultWidth(const Options& options) {
  if (options.width_kv == 0) return std::nullopt;
  v1::Width width;
  width.set_q(options.width_q);
  width.set_kv(options.width_kv);
  return width;
}

absl::Status LoadParts(const Options& options, const std::string& dir, Program* program) {
  LoadProgressBar bar("loading", STDERR_FILENO);
  auto model =
      LoadModel(dir, {.progress = [&](uint64_t done, uint64_t total) { bar.Show(done, total); },
                      .served_context = options.max_model_len,
                      .copies = CopiesOf(options),
                      .num_threads = NumThreads(options)});
  if (!model.ok()) return model.status();
  program->model = *std::move(model);
  for (const std::string& note : program->model->notes) spdlog::info("model: {}", note);
  auto tokenizer = Tokenizer::Load(dir);
  if (!tokenizer.ok()) return tokenizer.status();
  program->tokenizer = *std::move(tokenizer);
  auto chat_template = ChatTemplate::Load(dir);
  if (!chat_template.ok()) return chat_template.status();
  program->chat_template = *std::move(chat_template);
  if (program->chat_template) {
    if (absl::Status status = program->chat_template->CheckEnds(); !status.ok()) return status;
  }

  const int64_t tokenizer_size = program->tokenizer->vocab_size();
  const ModelConfig& config = program->model->config;
  if (tokenizer_size > config.vocab_size) {
    return absl::InvalidArgumentError(
        fmt::format("tokenizer.json has ids up to {}, but vocab_size in config.json is {}",
                    tokenizer_size - 1, config.vocab_size));
  }
  if (options.max_model_len > config.max_context) {
    return absl::InvalidArgumentError(
        fmt::format("--max-model-len {} is beyond the model's max_position_embeddings of {}",
                    options.max_model_len, config.max_context));
  }
  if (options.width_kv != 0) {
    ServedModel served;
    served.q_rank = config.q_lora_rank;
    served.kv_rank = config.kv_lora_rank;
    served.elastic = config.elastic;
    const absl::Status status = CheckWidth(*DefaultWidth(options), served);
    if (!status.ok()) {
      return absl::InvalidArgumentError(fmt::format("--width: {}", std::string(status.message())));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Device>> DeviceOf(const Options& options) {
  if (options.device == "cpu") return std::unique_ptr<Device>();
  return OpenDevice();
}

absl::Status LoadDevice(const Model& model, Device* device) {
  if (device == nullptr) return absl::OkStatus();
  LoadProgressBar bar("copying to the device", STDERR_FILENO);
  return device->Load(model, [&](uint64_t done, uint64_t total) { bar.Show(done, total); });
}

absl::Status CreateProgram(const Options& options, Program* program) {
  const auto dir = ModelDir(options);
  if (!dir.ok()) return dir.status();
  program->model_id = ModelId(options, *dir);
  auto device = DeviceOf(options);
  if (!device.ok()) return device.status();
  program->device = *std::move(device);
  if (absl::Status status = LoadParts(options, *dir, program); !status.ok()) return status;
  if (absl::Status status = LoadDevice(*program->model, program->device.get()); !status.ok()) {
    return status;
  }
  if (absl::Status status = MakeCache(options, program); !status.ok()) return status;
  return StartEngine(options, program);
}

}  // namespace latentd
