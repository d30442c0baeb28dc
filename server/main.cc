// The program: which command runs, and where its log goes.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "engine/model/loader.h"
#include "kernels/core/memory.h"
#include "server/cli/command_line.h"
#include "server/cli/progress.h"
#include "server/cli/read_file.h"
#include "server/cli/score_windows.h"
#include "server/cli/signals.h"
#include "server/model_dir.h"
#include "server/program.h"
#include "server/serve.h"

namespace latentd {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;  // of a model's config.json

absl::Status Generate(const Options& options, const GenerateCommand& command) {
  Program program;
  if (absl::Status status = CreateProgram(options, &program); !status.ok()) return status;
  return RunGenerate(*program.service, command);
}

absl::Status Score(const Options& options, const ScoreCommand& command) {
  Program program;
  if (absl::Status status = CreateProgram(options, &program); !status.ok()) return status;
  return RunScore(*program.service, program.max_context, OpeningToken(*program.tokenizer), command);
}

absl::Status Inspect(const Options& options, const InspectCommand& command) {
  const auto dir = ModelDir(options);
  return dir.ok() ? RunInspect(*dir, command) : dir.status();
}

absl::StatusOr<std::unique_ptr<const Model>> BenchModel(const std::string& dir,
                                                        const std::string& random_config,
                                                        const Options& options) {
  if (!random_config.empty()) {
    const auto text = ReadWholeFile("file", random_config, kMaxConfigBytes);
    if (!text.ok()) return text.status();
    auto model = MakeRandomModel(*text, /*seed=*/1, static_cast<uint64_t>(AvailableMemoryBytes()),
                                 CopiesOf(options), NumThreads(options));
    if (model.ok()) return model;
    return absl::Status(model.status().code(),
                        absl::StrCat(random_config, ": ", model.status().message()));
  }
  LoadProgressBar bar("loading", STDERR_FILENO);
  return LoadModel(dir, {.progress = [&](uint64_t done, uint64_t total) { bar.Show(done, total); },
                         .copies = CopiesOf(options),
                         .num_threads = NumThreads(options)});
}

absl::Status Bench(const Options& options, BenchCommand command) {
  command.version = Version();
  const auto device = DeviceOf(options);
  if (!device.ok()) return device.status();
  const bool is_random = !command.random_weights.empty();
  const auto dir = is_random ? absl::StatusOr<std::string>(options.model) : ModelDir(options);
  if (!dir.ok()) return dir.status();
  auto model = BenchModel(*dir, command.random_weights, options);
  if (!model.ok()) return model.status();
  const std::string name = is_random ? command.random_weights + ", random" : ModelId(options, *dir);
  if (absl::Status status = LoadDevice(**model, device->get()); !status.ok()) return status;
  return RunBench(**model, name, options, command, device->get());
}

void SetUpLogs(const CommandLine& line) {
  auto logger = std::make_shared<spdlog::logger>("latentd",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  // generate, score and inspect say nothing on stderr but the one sentence of a failure.
  const bool serving = std::holds_alternative<ServeCommand>(line.command);
  logger->set_level(serving ? spdlog::level::from_str(line.options.log_level) : spdlog::level::off);
  if (line.options.log_format == "json") {
    logger->set_formatter(JsonLogFormatter());
  }
  spdlog::set_default_logger(std::move(logger));
}

struct Run {
  const Options& options;
  absl::Status operator()(const ServeCommand&) const { return Serve(options); }
  absl::Status operator()(const GenerateCommand& c) const { return Generate(options, c); }
  absl::Status operator()(const ScoreCommand& c) const { return Score(options, c); }
  absl::Status operator()(const InspectCommand& c) const { return Inspect(options, c); }
  absl::Status operator()(const BenchCommand& c) const { return Bench(options, c); }
};

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) {
  int exit_status = 0;
  const auto line = latentd::ParseCommandLine(argc, argv, &exit_status);
  if (!line) return exit_status;
  if (std::holds_alternative<latentd::ServeCommand>(line->command)) latentd::BlockSignals();
  latentd::SetUpLogs(*line);
  const absl::Status status = std::visit(latentd::Run{line->options}, line->command);
  if (status.ok()) return 0;
  std::fprintf(stderr, "latentd: %s\n", std::string(status.message()).c_str());
  return 1;
}
