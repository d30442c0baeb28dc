// The program: the only file that wires objects together.
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "cache/block_pool.h"
#include "engine/calibrate.h"
#include "engine/model/cache_shape.h"
#include "engine/model/loader.h"
#include "engine/model/model_executor.h"
#include "engine/model/width_ladder.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "kernels/core/thread_pool.h"
#include "server/cli/command_line.h"
#include "server/cli/progress.h"
#include "server/cli/read_file.h"
#include "server/cli/score_windows.h"
#include "server/cli/signals.h"
#include "server/descriptors.h"
#include "server/grpc/grpc_door.h"
#include "server/http/http_door.h"
#include "server/memory.h"
#include "server/metrics.h"
#include "server/service.h"
#include "server/validate.h"

namespace latentd {
namespace {

constexpr std::string_view kDemoId = "latentd-demo";
constexpr size_t kMaxConfigBytes = size_t{1} << 20;  // of a model's config.json

// models/demo beside the program: …/build/TYPE/latentd, or …/bin/latentd with …/share/latentd.
absl::StatusOr<std::string> DemoModelDir() {
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  for (const char* relative : {"../../models/demo", "../share/latentd/models/demo"}) {
    const auto dir = (program.parent_path() / relative).lexically_normal();
    if (std::filesystem::exists(dir / "config.json")) return dir.string();
  }
  return absl::NotFoundError(
      "the bundled demo model was not found beside the program; give --model");
}

std::string ModelId(const Options& options, const std::string& dir) {
  if (!options.served_model_name.empty()) return options.served_model_name;
  if (options.model.empty()) return std::string(kDemoId);
  std::error_code ignored;
  const auto path = std::filesystem::canonical(dir, ignored);
  return path.filename().empty() ? "model" : path.filename().string();
}

// Everything below the doors. Members are destroyed in reverse order: the engine thread ends before
// what it borrows.
struct Program {
  std::unique_ptr<const Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::unique_ptr<ThreadPool> threads;
  Context context;
  std::unique_ptr<BlockPool> pool;
  std::unique_ptr<ModelExecutor> executor;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Service> service;
  std::string model_id;
  int64_t max_context = 0;
};

// Of requests that name no width; absent: full.
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
                      .served_context = options.max_model_len});
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

// Sizes and makes the cache, and settles the served context.
absl::Status MakeCache(const Options& options, Program* program) {
  const ModelConfig& config = program->model->config;
  const PageShape shape = CacheShapeOf(config);
  const BlockLayout& layout = shape.classes[0];
  const int64_t wanted = options.max_model_len != 0 ? options.max_model_len : config.max_context;
  int64_t num_blocks = 0;
  if (options.cache_tokens != 0) {
    num_blocks = (options.cache_tokens + kBlockTokens - 1) / kBlockTokens;
  } else if (options.cache_memory_bytes != 0) {
    num_blocks = options.cache_memory_bytes / layout.block_bytes;
  } else {
    const int64_t enough = (wanted + kBlockTokens) / kBlockTokens * options.max_num_seqs;
    num_blocks = std::min(enough, AvailableMemoryBytes() / 4 / layout.block_bytes);
  }
  if (num_blocks < 2) {
    return absl::ResourceExhaustedError(fmt::format(
        "the cache would hold fewer than two blocks of {} bytes; give --cache-memory or "
        "--cache-tokens",
        layout.block_bytes));
  }
  const int64_t num_pages = options.cache_memory_bytes != 0
                                ? std::max<int64_t>(1, num_blocks / shape.full_blocks)
                                : (num_blocks + shape.full_blocks - 1) / shape.full_blocks;
  auto pool = BlockPool::Create(shape, num_pages);
  if (!pool.ok()) return pool.status();
  program->pool = *std::move(pool);
  program->max_context = std::min(wanted, program->pool->capacity_tokens());
  spdlog::info("cache: {} pages of {} tokens, {} bytes in all, {} bytes per token; context {}",
               num_pages, shape.page_tokens(), num_pages * shape.page_bytes(),
               layout.bytes_per_token, program->max_context);
  return absl::OkStatus();
}

// Names what bits are promised for, and keys the logits hash.
std::string Backend(const Options& options, const Program& program) {
  return fmt::format("cpu {}{}", Name(program.context.cpu_path),
                     options.determinism == "strict" ? "" : " " + options.determinism);
}

void StartEngine(const Options& options, Program* program) {
  const ModelConfig& config = program->model->config;
  const auto processors = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const int threads = options.threads != 0 ? static_cast<int>(options.threads) : processors;
  program->threads = std::make_unique<ThreadPool>(threads);
  program->context.pool = program->threads.get();
  program->context.cpu_path =
      options.cpu_path.empty() ? BestCpuPath() : *ParseCpuPath(options.cpu_path);
  program->executor = std::make_unique<ModelExecutor>(
      config, program->model->weights, program->context, program->pool->layout(),
      program->pool->base(), options.max_num_batched_tokens,
      options.determinism == "relaxed" ? Determinism::kRelaxed : Determinism::kStrict);

  EngineOptions engine;
  engine.backend = Backend(options, *program);
  engine.max_waiting_requests = options.max_queue;
  engine.max_waiting_tokens = options.max_queue_tokens;
  engine.scheduler = {.max_num_seqs = options.max_num_seqs,
                      .max_num_batched_tokens = options.max_num_batched_tokens,
                      .step_us = options.step_ms * 1000,
                      .max_context = program->max_context,
                      .priority_aging_us = options.priority_aging_seconds * 1'000'000,
                      .stall_timeout_us = options.stall_timeout_seconds * 1'000'000,
                      .cost = MeasureCost(program->executor.get(), program->pool.get(),
                                          program->max_context, Clock::Steady())};
  const bool pressure = options.elastic_policy == "pressure";
  if (pressure) {
    for (const Width& width : WidthLadder(config)) {
      engine.scheduler.width_ladder.emplace_back(width.q, width.kv);
    }
    if (engine.scheduler.width_ladder.size() == 1) {
      spdlog::warn("--elastic-policy pressure changes nothing: the model lists no narrower width");
    }
  }
  spdlog::info("{}, {} threads; {:.0f} us per token + {:.4f} us per position", engine.backend,
               threads, engine.scheduler.cost.token_us, engine.scheduler.cost.position_us);
  engine.layers_done = [program] { return program->executor->layers_done(); };
  const std::string cache_config =
      fmt::format("block_size={},num_gpu_blocks={},cache_dtype=bfloat16", kBlockTokens,
                  program->pool->capacity_tokens() / kBlockTokens);
  program->metrics = Metrics::Create(program->model_id, cache_config,
                                     [program] { return program->engine->Stats(); });
  engine.on_step = [program](const StepReport& report) { program->metrics->Step(report); };
  program->engine =
      Engine::Start(engine, program->executor.get(), program->pool.get(), Clock::Steady());
  program->service =
      Service::Create({.model = program->model.get(),
                       .tokenizer = program->tokenizer.get(),
                       .chat_template = program->chat_template ? &*program->chat_template : nullptr,
                       .engine = program->engine.get(),
                       .metrics = program->metrics.get(),
                       .clock = Clock::Steady(),
                       .model_id = program->model_id,
                       .version = std::string(Version()),
                       .backend = engine.backend,
                       .determinism = options.determinism,
                       .max_context = program->max_context,
                       .cache_bytes_per_token = program->pool->layout().bytes_per_token,
                       .default_width = DefaultWidth(options),
                       .width_by_policy = pressure,
                       .random_seed = {}});
}

absl::Status Create(const Options& options, Program* program) {
  std::string dir = options.model;
  if (dir.empty()) {
    auto demo = DemoModelDir();
    if (!demo.ok()) return demo.status();
    dir = *demo;
  }
  program->model_id = ModelId(options, dir);
  if (absl::Status status = LoadParts(options, dir, program); !status.ok()) return status;
  if (absl::Status status = MakeCache(options, program); !status.ok()) return status;
  StartEngine(options, program);
  return absl::OkStatus();
}

absl::Status Serve(const Options& options) {
  DrainWatch watch;  // outlives the engine, whose last request wakes it
  Program program;
  if (absl::Status status = Create(options, &program); !status.ok()) return status;

  DoorLimits limits = options.limits;
  limits.max_connections = FitConnections(limits.max_connections);
  if (limits.max_connections < options.limits.max_connections) {
    spdlog::warn("at most {} HTTP connections instead of {}: the limit of open files is too low",
                 limits.max_connections, options.limits.max_connections);
  }
  const size_t colon = options.http.rfind(':');
  auto http = HttpDoor::Start({.host = options.http.substr(0, colon),
                               .port = std::stoi(options.http.substr(colon + 1)),
                               .limits = limits,
                               .version = std::string(Version())},
                              program.service.get(), program.metrics.get());
  if (!http.ok()) return http.status();
  auto grpc = GrpcDoor::Start({.address = options.grpc,
                               .admin_address = options.admin,
                               .limits = limits,
                               .on_drain = [&] { program.service->Drain(); }},
                              program.service.get(), program.metrics.get());
  if (!grpc.ok()) return grpc.status();
  (*grpc)->SetReady(true);
  const std::string admin = (*grpc)->admin_address();
  std::printf("ready http=%s grpc=%s%s%s model=%s\n", (*http)->address().c_str(),
              (*grpc)->address().c_str(), admin.empty() ? "" : " admin=", admin.c_str(),
              program.model_id.c_str());
  std::fflush(stdout);

  const auto begin_drain = [&] {
    spdlog::info("draining: no new work; waiting for {} requests", program.service->InFlight());
    (*grpc)->SetReady(false);
    program.service->Drain();
    program.service->OnDrained([&watch] { watch.Wake(); });
  };
  const bool drained = watch.Wait(
      begin_drain, [&] { return program.service->InFlight() == 0; },
      std::chrono::seconds(options.drain_timeout_seconds));
  if (!drained) {
    spdlog::warn("the drain timeout has passed: {} requests are cut", program.service->InFlight());
    program.service->CutOff();
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  (*http)->Shutdown(deadline);
  (*grpc)->Shutdown(deadline);
  return absl::OkStatus();
}

absl::Status Generate(const Options& options, const GenerateCommand& command) {
  Program program;
  if (absl::Status status = Create(options, &program); !status.ok()) return status;
  return RunGenerate(*program.service, command);
}

absl::Status Score(const Options& options, const ScoreCommand& command) {
  Program program;
  if (absl::Status status = Create(options, &program); !status.ok()) return status;
  return RunScore(*program.service, program.max_context, OpeningToken(*program.tokenizer), command);
}

absl::Status Inspect(const Options& options, const InspectCommand& command) {
  if (!options.model.empty()) return RunInspect(options.model, command);
  const auto demo = DemoModelDir();
  return demo.ok() ? RunInspect(*demo, command) : demo.status();
}

absl::StatusOr<std::unique_ptr<const Model>> BenchModel(const std::string& dir,
                                                        const std::string& random_config) {
  if (!random_config.empty()) {
    const auto text = ReadWholeFile("file", random_config, kMaxConfigBytes);
    if (!text.ok()) return text.status();
    return MakeRandomModel(*text, /*seed=*/1, static_cast<uint64_t>(AvailableMemoryBytes()));
  }
  LoadProgressBar bar("loading", STDERR_FILENO);
  return LoadModel(dir,
                   {.progress = [&](uint64_t done, uint64_t total) { bar.Show(done, total); }});
}

absl::Status Bench(const Options& options, BenchCommand command) {
  command.version = Version();
  std::string dir = options.model;
  if (dir.empty() && command.random_weights.empty()) {
    auto demo = DemoModelDir();
    if (!demo.ok()) return demo.status();
    dir = *demo;
  }
  auto model = BenchModel(dir, command.random_weights);
  if (!model.ok()) return model.status();
  const std::string name =
      command.random_weights.empty() ? ModelId(options, dir) : command.random_weights + ", random";
  return RunBench(**model, name, options, command);
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
