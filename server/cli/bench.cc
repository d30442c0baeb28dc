// `latentd bench`: forward passes alone, at chosen depths, batches, widths and thread counts.
//
// For each thread count, width and depth the cache is made once; then the rounds go over all works
// of that depth in turn, each round opening with the machine's roofs, so that slow drifts of the
// machine fall on every figure alike.
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
#include "engine/model/model_executor.h"
#include "kernels/core/memory.h"
#include "kernels/core/thread_pool.h"
#include "kernels/quantise.h"
#include "server/cli/bench_report.h"
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

// Every work at one depth.
std::vector<BenchWork> WorksAt(const BenchCommand& command, int64_t depth, const Width& width) {
  std::vector<BenchWork> works;
  for (const int64_t tokens : command.prefills) {
    works.push_back({BenchWork::Kind::kPrefill, depth, 1, tokens, width});
  }
  for (const int64_t batch : command.batches) {
    works.push_back({BenchWork::Kind::kDecode, depth, batch, 1, width});
  }
  return works;
}

struct CacheNeed {
  int64_t sequences = 0, tokens = 0;
  int64_t blocks() const { return sequences * ((tokens + kBlockTokens - 1) / kBlockTokens); }
};

CacheNeed NeedOf(const std::vector<BenchWork>& works) {
  CacheNeed need;
  for (const BenchWork& work : works) {
    need.sequences = std::max(need.sequences, work.batch);
    need.tokens = std::max(need.tokens, work.depth + work.tokens);
  }
  return need;
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

// All rows of one thread count.
class ThreadCountBench {
 public:
  ThreadCountBench(const Model& model, const Options& options, const BenchCommand& command,
                   int threads, BlockPool* pool)
      : model_(model),
        command_(command),
        pool_(pool),
        step_tokens_(options.max_num_batched_tokens),
        threads_(threads),
        context_{PathOf(options), &threads_},
        executor_(model.config, model.weights, context_, pool->layout(), pool->base(),
                  step_tokens_),
        cache_(pool, &executor_, step_tokens_) {}

  // done counts rounds over the whole command.
  absl::Status Run(int64_t depth, const Width& width, LoadProgressBar* bar, uint64_t* done,
                   uint64_t total, BenchReport* report) {
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
    const BlockLayout& layout = pool_->layout(pool_->shape().ClassOf(width.kv));
    for (const BenchWork& work : works) {
      const int64_t before = executor_.expert_runs();
      RunWork(&executor_, cache_, step_tokens_, work);  // first touch
      const int64_t expert_runs = executor_.expert_runs() - before;
      report->rows.push_back({work,
                              threads_.num_threads(),
                              {},
                              CostOf(model_.config, BytesOfWeights(model_.weights),
                                     layout.bytes_per_token, step_tokens_, work, expert_runs),
                              expert_runs,
                              {}});
    }
    for (uint64_t round = 0; round < command_.repeat; ++round) {
      roofs_.rounds.push_back(MeasureRoofs(context_));
      for (size_t i = 0; i < works.size(); ++i) {
        const RunSeconds seconds =
            SecondsOf([&] { RunWork(&executor_, cache_, step_tokens_, works[i]); });
        report->rows[first + i].seconds.push_back(seconds.wall);
        report->rows[first + i].processor_seconds.push_back(seconds.processor);
      }
      bar->Show(++*done, total);
    }
    return absl::OkStatus();
  }

  BenchRoofs roofs() const { return {threads_.num_threads(), roofs_.rounds}; }

 private:
  const Model& model_;
  const BenchCommand& command_;
  BlockPool* const pool_;
  const int64_t step_tokens_;
  ThreadPool threads_;
  const Context context_;
  ModelExecutor executor_;
  BenchCache cache_;
  BenchRoofs roofs_;
};

absl::StatusOr<std::vector<Width>> WidthsOf(const ModelConfig& config,
                                            const std::vector<v1::Width>& given) {
  if (given.empty()) return std::vector<Width>{config.full_width()};
  std::vector<Width> widths;
  for (const v1::Width& width : given) {
    widths.push_back({width.q(), width.kv()});
    if (!config.Allows(widths.back())) {
      return absl::InvalidArgumentError(
          fmt::format("--width {},{} is no width of this model", width.q(), width.kv()));
    }
  }
  return widths;
}

// Room for the largest need of any depth and width.
absl::StatusOr<std::unique_ptr<BlockPool>> MakePool(const ModelConfig& config,
                                                    const BenchCommand& command,
                                                    const std::vector<Width>& widths,
                                                    CacheFormat format) {
  const PageShape shape = CacheShapeOf(config, format);
  int64_t pages = 1;
  for (const int64_t depth : command.depths) {
    const CacheNeed need = NeedOf(WorksAt(command, depth, config.full_width()));
    if (need.tokens > config.max_context) {
      return absl::InvalidArgumentError(
          fmt::format("depth {} and the new tokens make {} tokens, beyond the model's {}", depth,
                      need.tokens, config.max_context));
    }
    for (const Width& width : widths) {
      const int64_t per_page = shape.blocks_per_page(shape.ClassOf(width.kv));
      pages = std::max(pages, (need.blocks() + per_page - 1) / per_page);
    }
  }
  if (pages > AvailableMemoryBytes() / shape.page_bytes()) {
    return absl::ResourceExhaustedError(
        fmt::format("the deepest work needs {} bytes of cache and {} are free",
                    pages * shape.page_bytes(), AvailableMemoryBytes()));
  }
  return BlockPool::Create(shape, pages);
}

}  // namespace

absl::Status RunBench(const Model& model, const std::string& model_name, const Options& options,
                      const BenchCommand& command) {
  const auto widths = WidthsOf(model.config, command.widths);
  if (!widths.ok()) return widths.status();
  auto pool = MakePool(model.config, command, *widths, CacheFormatOf(options));
  if (!pool.ok()) return pool.status();
  std::vector<int64_t> thread_counts = command.thread_counts;
  if (thread_counts.empty()) thread_counts.push_back(NumThreads(options));
  BenchReport report;
  report.machine = Processor();
  report.build = fmt::format("latentd {}, cpu {}", command.version, Name(PathOf(options)));
  if (const WeightCopies format = model.weights.format; format != WeightCopies::kNone) {
    report.build += fmt::format(", {} weights", Name(format));
  }
  if (CacheFormatOf(options) == CacheFormat::kInt8) report.build += ", int8 cache";
  report.model = model_name;
  report.synthetic_cache = command.synthetic_cache;
  LoadProgressBar bar("bench", STDERR_FILENO);
  const uint64_t total =
      thread_counts.size() * widths->size() * command.depths.size() * command.repeat;
  uint64_t done = 0;
  for (const int64_t threads : thread_counts) {
    ThreadCountBench bench(model, options, command, static_cast<int>(threads), pool->get());
    for (const Width& width : *widths) {
      for (const int64_t depth : command.depths) {
        auto status = bench.Run(depth, width, &bar, &done, total, &report);
        if (!status.ok()) return status;
      }
    }
    report.roofs.push_back(bench.roofs());
  }
  const std::string text = command.json ? BenchJson(report).dump(2) + "\n" : BenchText(report);
  return WriteToStdout(text);
}

}  // namespace latentd
