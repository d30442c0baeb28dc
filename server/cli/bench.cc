// `latentd bench`: forward passes alone, at chosen depths, batches, widths and thread counts, or on
// a device.
//
// For each machine (a thread count, or the device), width and depth the cache is made once; then
// the rounds go over all works of that depth in turn, each round opening with the machine's roofs,
// so that slow drifts of the machine fall on every figure alike. A step is timed by the host's
// clock: an executor returns when its tokens are there, or its logits where it draws none.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/bench/bench_runner.h"
#include "engine/model/cache_shape.h"
#include "kernels/core/memory.h"
#include "kernels/core/rounding.h"
#include "kernels/quantise.h"
#include "server/cli/bench_machine.h"
#include "server/cli/bench_report.h"
#include "server/cli/bench_works.h"
#include "server/cli/commands.h"
#include "server/cli/progress.h"
#include "server/cli/standard_output.h"

namespace latentd {
namespace {

constexpr double kRoundSeconds = 0.1;  // a work shorter than this is repeated within a round

std::string Processor() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      return fmt::format("{}, {} processors", line.substr(colon + 2),
                         std::thread::hardware_concurrency());
    }
  }
  return fmt::format("{} processors", std::thread::hardware_concurrency());
}

WeightBytes BytesOfWeights(const Weights& weights) {
  const auto stored = static_cast<double>(SizeOf(weights.embedding.dtype));
  switch (weights.format) {
    case WeightCopies::kNone:
      return {stored, stored, stored};
    case WeightCopies::kInt8:
      return {kInt8Format.BytesPerWeight(), stored, kInt8Format.BytesPerWeight()};
    case WeightCopies::kInt4:
      return {kInt4Format.BytesPerWeight(), stored, kInt8Format.BytesPerWeight()};
  }
  return {};
}

double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

struct RunSeconds {
  double wall = 0, processor = 0;  // of one run
};

RunSeconds SecondsOf(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  const double processor_begin = ProcessorSeconds();
  int64_t runs = 0;
  double seconds = 0;
  while (seconds < kRoundSeconds) {
    run();
    ++runs;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  const auto count = static_cast<double>(runs);
  return {seconds / count, (ProcessorSeconds() - processor_begin) / count};
}

// Rounds of the whole command.
struct Progress {
  uint64_t total;
  LoadProgressBar bar{"bench", STDERR_FILENO};
  uint64_t done = 0;

  void Next() { bar.Show(++done, total); }
};

// All rows of one machine.
class MachineBench {
 public:
  MachineBench(const Model& model, const BenchCommand& command, int64_t step_tokens,
               BlockPool* pool, BenchMachine* machine)
      : model_(model),
        command_(command),
        step_tokens_(step_tokens),
        pool_(pool),
        machine_(machine),
        cache_(pool, machine->executor(), step_tokens, machine->blocks()) {}

  absl::Status Run(int64_t depth, const Width& width, Progress* progress, BenchReport* report) {
    const std::vector<BenchWork> works = WorksAt(command_, depth, width);
    const CacheNeed need = NeedOf(works);
    if (auto status = cache_.Resize(need.sequences, need.tokens, width); !status.ok())
      return status;
    if (command_.synthetic_cache) {
      cache_.Synthesize(depth);
    } else {
      cache_.Compute(depth);
    }
    const size_t first = report->rows.size();
    for (const BenchWork& work : works) report->rows.push_back(FirstTouch(work));
    for (uint64_t round = 0; round < command_.repeat; ++round) {
      roofs_.push_back(machine_->MeasureRoofs());
      for (size_t i = 0; i < works.size(); ++i) {
        const RunSeconds seconds = SecondsOf([&] { Run(works[i]); });
        report->rows[first + i].seconds.push_back(seconds.wall);
        report->rows[first + i].processor_seconds.push_back(seconds.processor);
      }
      progress->Next();
    }
    return absl::OkStatus();
  }

  BenchRoofs roofs() const { return {machine_->threads(), roofs_}; }

 private:
  void Run(const BenchWork& work) { RunWork(machine_->executor(), cache_, step_tokens_, work); }

  // Its row, without times.
  BenchRow FirstTouch(const BenchWork& work) {
    const std::optional<int64_t> before = machine_->expert_runs();
    Run(work);
    const int64_t expert_runs = before ? *machine_->expert_runs() - *before
                                       : LeastExpertRuns(model_.config, step_tokens_, work);
    const BlockLayout& layout = pool_->layout(pool_->shape().ClassOf(work.width.kv));
    const WorkCost cost = CostOf(model_.config, BytesOfWeights(model_.weights),
                                 layout.bytes_per_token, step_tokens_, work, expert_runs);
    return {work, machine_->threads(), {}, cost, expert_runs, {}};
  }

  const Model& model_;
  const BenchCommand& command_;
  const int64_t step_tokens_;
  BlockPool* const pool_;
  BenchMachine* const machine_;
  BenchCache cache_;
  std::vector<Roofs> roofs_;
};

// Room for the largest need of any depth and width.
absl::StatusOr<std::unique_ptr<BlockPool>> MakePool(const PageShape& shape, int64_t num_blocks,
                                                    const std::vector<Width>& widths,
                                                    int64_t free_bytes, bool on_device) {
  int64_t pages = 1;
  for (const Width& width : widths) {
    const int64_t per_page = shape.blocks_per_page(shape.ClassOf(width.kv));
    pages = std::max(pages, CeilDiv(num_blocks, per_page));
  }
  if (free_bytes < 0 || pages > free_bytes / shape.page_bytes()) {
    return absl::ResourceExhaustedError(fmt::format(
        "the deepest work needs {} bytes of cache and {} are free{}", pages * shape.page_bytes(),
        std::max<int64_t>(0, free_bytes), on_device ? " on the device" : ""));
  }
  return BlockPool::Create(shape, pages, {.has_memory = !on_device, .may_allocate = {}});
}

BenchReport Described(const Model& model, const std::string& model_name, const Options& options,
                      const BenchCommand& command, const Device* device) {
  BenchReport report;
  report.machine = device != nullptr ? device->name() : Processor();
  report.build =
      fmt::format("latentd {}, {}", command.version,
                  device != nullptr ? "cuda" : fmt::format("cpu {}", Name(PathOf(options))));
  if (const WeightCopies format = model.weights.format; format != WeightCopies::kNone) {
    report.build += fmt::format(", {} weights", Name(format));
  }
  if (CacheFormatOf(options) == CacheFormat::kInt8) report.build += ", int8 cache";
  if (options.determinism != "strict") report.build += ", " + options.determinism;
  report.model = model_name;
  report.synthetic_cache = command.synthetic_cache;
  report.least_experts = device != nullptr && model.config.moe.has_value();
  return report;
}

}  // namespace

absl::Status RunBench(const Model& model, const std::string& model_name, const Options& options,
                      const BenchCommand& command, const Device* device) {
  const auto widths = WidthsOf(model.config, command.widths);
  if (!widths.ok()) return widths.status();
  const auto need = MostNeedOf(model.config, command);
  if (!need.ok()) return need.status();
  const PageShape shape = CacheShapeOf(model.config, CacheFormatOf(options));
  const int64_t step_tokens = options.max_num_batched_tokens;
  const StepSize step = {.max_tokens = std::max(step_tokens, need->sequences),
                         .max_sequences = need->sequences,
                         .max_context = need->tokens,
                         .relaxed = DeterminismOf(options) == Determinism::kRelaxed};
  auto pool = MakePool(
      shape, need->blocks, *widths,
      device != nullptr ? device->FreeForCache(shape.classes[0], step) : AvailableMemoryBytes(),
      device != nullptr);
  if (!pool.ok()) return pool.status();

  std::vector<int64_t> thread_counts = command.thread_counts;
  if (device != nullptr) thread_counts = {0};
  if (thread_counts.empty()) thread_counts.push_back(NumThreads(options));
  BenchReport report = Described(model, model_name, options, command, device);
  Progress progress{thread_counts.size() * widths->size() * command.depths.size() * command.repeat};
  for (const int64_t threads : thread_counts) {
    absl::StatusOr<std::unique_ptr<BenchMachine>> machine =
        device != nullptr ? MakeDeviceMachine(*device, **pool, step)
                          : MakeCpuMachine(model, options, static_cast<int>(threads), pool->get());
    if (!machine.ok()) return machine.status();
    MachineBench bench(model, command, step_tokens, pool->get(), machine->get());
    for (const Width& width : *widths) {
      for (const int64_t depth : command.depths) {
        auto status = bench.Run(depth, width, &progress, &report);
        if (!status.ok()) return status;
      }
    }
    report.roofs.push_back(bench.roofs());
  }
  const std::string text = command.json ? BenchJson(report).dump(2) + "\n" : BenchText(report);
  return WriteToStdout(text);
}

}  // namespace latentd
