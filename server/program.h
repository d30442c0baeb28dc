// The wiring below the doors; beside it only serve.cc makes objects and connects them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "cache/block_pool.h"
#include "engine/engine.h"
#include "engine/executor.h"
#include "engine/model/loader.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "kernels/core/context.h"
#include "kernels/core/thread_pool.h"
#include "server/device.h"
#include "server/metrics.h"
#include "server/options.h"
#include "server/service.h"

namespace latentd {

// Everything below the doors. Members are destroyed in reverse order: the engine thread ends before
// what it borrows.
struct Program {
  std::unique_ptr<const Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
  std::unique_ptr<ThreadPool> threads;
  Context context;
  std::unique_ptr<Device> device;  // null: the CPU
  std::unique_ptr<BlockPool> pool;
  std::unique_ptr<Executor> executor;
  std::function<uint64_t()> layers_done;  // by the executor
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Service> service;
  std::string model_id;
  int64_t max_context = 0;
};

// Loads the model and starts the engine; logs what it settles. *program keeps its place from here
// on.
absl::Status CreateProgram(const Options& options, Program* program);

// Parts of it. Model, tokenizer and chat template, checked against each other and the options.
absl::Status LoadParts(const Options& options, const std::string& dir, Program* program);
// The device that the options ask for; null: the CPU.
absl::StatusOr<std::unique_ptr<Device>> DeviceOf(const Options& options);
// Copies the weights there, unless device is null.
absl::Status LoadDevice(const Model& model, Device* device);
// Sizes and makes the cache, and settles the served context. After LoadDevice.
absl::Status MakeCache(const Options& options, Program* program);
// After MakeCache.
absl::Status StartEngine(const Options& options, Program* program);

// Of requests that name no width; absent: full.
std::optional<v1::Width> DefaultWidth(const Options& options);

}  // namespace latentd
