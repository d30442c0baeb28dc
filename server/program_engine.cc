// From a loaded model to a running engine and its service.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>

#include "engine/calibrate.h"
#include "engine/model/cache_shape.h"
#include "engine/model/model_executor.h"
#include "engine/model/width_ladder.h"
#include "engine/sampling/logits_hash.h"
#include "kernels/core/memory.h"
#include "kernels/core/rounding.h"
#include "server/cli/command_line.h"
#include "server/program.h"

namespace latentd {
namespace {

// Names what bits are promised for, and keys the logits hash.
std::string Backend(const Options& options, const Program& program) {
  const WeightCopies format = program.model->weights.format;
  const std::string path = program.device != nullptr
                               ? fmt::format("cuda {}", program.device->name())
                               : fmt::format("cpu {}", Name(program.context.cpu_path));
  return fmt::format("{}{}{}{}", path,
                     format == WeightCopies::kNone ? "" : fmt::format(" {}-weights", Name(format)),
                     CacheFormatOf(options) == CacheFormat::kInt8 ? " int8-cache" : "",
                     options.determinism == "strict" ? "" : " " + options.determinism);
}

// What tells reusable blocks apart: blocks computed under another backend are not these.
Hash128 FingerprintOf(std::string_view backend) {
  RunningSipHash hash(0, 0);
  hash.Update(std::as_bytes(std::span(backend)));
  return hash.Hash();
}

StepSize StepSizeOf(const Options& options, int64_t max_context) {
  return {.max_tokens = options.max_num_batched_tokens,
          .max_sequences = options.max_num_seqs,
          .max_context = max_context,
          .relaxed = DeterminismOf(options) == Determinism::kRelaxed};
}

absl::Status TooFewBlocks(const BlockLayout& layout, const std::string& why) {
  return absl::ResourceExhaustedError(
      fmt::format("a cache has two blocks of {} bytes, {} tokens each, at least, but {}",
                  layout.block_bytes, kBlockTokens, why));
}

std::string WhatStepsLeave(const Options& options, int64_t free_bytes) {
  return fmt::format(
      "a step of {} tokens and {} sequences, and its graphs, {} of what the weights leave free on "
      "the device; give a smaller --max-num-batched-tokens or --max-num-seqs",
      options.max_num_batched_tokens, options.max_num_seqs,
      free_bytes < 0 ? fmt::format("need {} bytes more than all", -free_bytes)
                     : fmt::format("leave {} bytes", free_bytes));
}

// Blocks that the cache gets when nobody says: room for all sequences, in a share of what is free,
// since the host has other uses for its memory, and a device hardly any.
absl::StatusOr<int64_t> NumBlocksThatFit(const Options& options, const Program& program,
                                         const BlockLayout& layout, int64_t max_context) {
  const bool on_device = program.device != nullptr;
  const int64_t free_bytes =
      on_device ? program.device->FreeForCache(layout, StepSizeOf(options, max_context))
                : AvailableMemoryBytes();
  const int64_t bytes = on_device ? free_bytes / 10 * 9 : free_bytes / 4;
  if (bytes < 2 * layout.block_bytes) {
    return TooFewBlocks(layout, on_device
                                    ? WhatStepsLeave(options, free_bytes)
                                    : fmt::format("a quarter of the available memory is {} bytes; "
                                                  "give --cache-memory or --cache-tokens",
                                                  bytes));
  }
  const int64_t enough = (max_context + kBlockTokens) / kBlockTokens * options.max_num_seqs;
  if (enough < 2) {
    return TooFewBlocks(layout, fmt::format("one sequence of {} tokens asks for one; give "
                                            "--cache-tokens, or a larger --max-model-len",
                                            max_context));
  }
  return std::min(enough, bytes / layout.block_bytes);
}

absl::StatusOr<int64_t> NumBlocks(const Options& options, const Program& program,
                                  const BlockLayout& layout, int64_t max_context) {
  const int64_t tokens = options.cache_tokens, bytes = options.cache_memory_bytes;
  if (tokens == 0 && bytes == 0) return NumBlocksThatFit(options, program, layout, max_context);
  const int64_t blocks = tokens != 0 ? CeilDiv(tokens, kBlockTokens) : bytes / layout.block_bytes;
  if (blocks < 2) {
    return TooFewBlocks(layout, tokens != 0 ? fmt::format("--cache-tokens is {}", tokens)
                                            : fmt::format("--cache-memory is {} bytes", bytes));
  }
  return blocks;
}

absl::Status MakeExecutor(const Options& options, Program* program) {
  if (program->device != nullptr) {
    const PageShape& shape = program->pool->shape();
    auto made = program->device->MakeExecutor(program->pool->layout(),
                                              StepSizeOf(options, program->max_context),
                                              program->pool->num_pages() * shape.page_bytes());
    if (!made.ok()) return made.status();
    program->executor = std::move(made->executor);
    program->layers_done = std::move(made->layers_done);
    return absl::OkStatus();
  }
  auto executor = std::make_unique<ModelExecutor>(
      program->model->config, program->model->weights, program->context, program->pool->layout(),
      program->pool->base(), options.max_num_batched_tokens, DeterminismOf(options));
  program->layers_done = [running = executor.get()] { return running->layers_done(); };
  program->executor = std::move(executor);
  return absl::OkStatus();
}

}  // namespace

absl::Status MakeCache(const Options& options, Program* program) {
  const ModelConfig& config = program->model->config;
  const PageShape shape = CacheShapeOf(config, CacheFormatOf(options));
  const BlockLayout& layout = shape.classes[0];
  const int64_t wanted = options.max_model_len != 0 ? options.max_model_len : config.max_context;
  const auto num_blocks = NumBlocks(options, *program, layout, wanted);
  if (!num_blocks.ok()) return num_blocks.status();
  const int64_t num_pages = options.cache_memory_bytes != 0
                                ? std::max<int64_t>(1, *num_blocks / shape.full_blocks)
                                : (*num_blocks + shape.full_blocks - 1) / shape.full_blocks;
  auto pool = BlockPool::Create(shape, num_pages,
                                {.has_memory = program->device == nullptr, .may_allocate = {}});
  if (!pool.ok()) return pool.status();
  program->pool = *std::move(pool);
  program->max_context = std::min(wanted, program->pool->capacity_tokens());
  spdlog::info("cache: {} pages of {} tokens, {} bytes in all, {} bytes per token; context {}",
               num_pages, shape.page_tokens(), num_pages * shape.page_bytes(),
               layout.bytes_per_token, program->max_context);
  return absl::OkStatus();
}

absl::Status StartEngine(const Options& options, Program* program) {
  const ModelConfig& config = program->model->config;
  program->threads = std::make_unique<ThreadPool>(NumThreads(options));
  program->context.pool = program->threads.get();
  program->context.cpu_path = PathOf(options);
  if (absl::Status status = MakeExecutor(options, program); !status.ok()) return status;

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
  // One model a process, so that only what changes its bits between processes matters.
  const Hash128 fingerprint = FingerprintOf(engine.backend);
  engine.scheduler.model_fingerprint[0] = fingerprint[0];
  engine.scheduler.model_fingerprint[1] = fingerprint[1];
  const bool pressure = options.elastic_policy == "pressure";
  if (pressure) {
    for (const Width& width : WidthLadder(config)) {
      engine.scheduler.width_ladder.emplace_back(width.q, width.kv);
    }
    if (engine.scheduler.width_ladder.size() == 1) {
      spdlog::warn("--elastic-policy pressure changes nothing: the model lists no narrower width");
    }
  }
  const CostModel& cost = engine.scheduler.cost;
  spdlog::info("{}, {} threads; {:.0f} us per step + {:.0f} us per token + {:.4f} us per position",
               engine.backend, program->threads->num_threads(), cost.base_us, cost.token_us,
               cost.position_us);
  engine.layers_done = program->layers_done;
  const std::string cache_config =
      fmt::format("block_size={},num_gpu_blocks={},cache_dtype={}", kBlockTokens,
                  program->pool->capacity_tokens() / kBlockTokens,
                  CacheFormatOf(options) == CacheFormat::kInt8 ? "int8" : "bfloat16");
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
  return absl::OkStatus();
}

}  // namespace latentd
