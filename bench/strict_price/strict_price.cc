// What strict costs: the same work by a strict and a relaxed executor, in turn within each round,
// so that the ratio holds though the machine is shared. Random weights, random latents in the
// cache.
//   latentd_strict_price CONFIG.json THREADS ROUNDS PREFILLS DEPTHS     lists with commas
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "bench/price/price.h"
#include "cache/block_pool.h"
#include "engine/bench/bench_runner.h"
#include "engine/model/cache_shape.h"
#include "engine/model/loader.h"
#include "engine/model/model_executor.h"
#include "kernels/core/check.h"
#include "kernels/core/thread_pool.h"

namespace latentd {
namespace {

constexpr int64_t kStepTokens = 2048;
constexpr uint64_t kMaxWeightBytes = uint64_t{8} << 30;

void Compare(ModelExecutor* strict, ModelExecutor* relaxed, const BenchCache& cache,
             const BenchWork& work, int64_t rounds) {
  const Price price = ComparePrice(strict, relaxed, cache, kStepTokens, work, rounds);
  const bool decode = work.kind == BenchWork::Kind::kDecode;
  std::printf("| %s %lld | %lld | %.1f | %.1f | %.3f | %.3f to %.3f |\n",
              decode ? "decode, batch" : "prefill",
              static_cast<long long>(decode ? work.batch : work.tokens),
              static_cast<long long>(work.depth), price.base_ms, price.other_ms, price.ratio,
              price.lowest, price.highest);
  std::fflush(stdout);
}

int RunPrice(char** argv) {
  std::ifstream file(argv[1], std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto model = MakeRandomModel(text, /*seed=*/1, kMaxWeightBytes);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", std::string(model.status().message()).c_str());
    return 1;
  }
  ThreadPool threads(std::atoi(argv[2]));
  const int64_t rounds = std::atoll(argv[3]);
  const std::vector<int64_t> prefills = Numbers(argv[4]), depths = Numbers(argv[5]);
  const Context context{BestCpuPath(), &threads};
  const int64_t most = *std::max_element(prefills.begin(), prefills.end()) +
                       *std::max_element(depths.begin(), depths.end());
  const ModelConfig& config = (*model)->config;
  auto pool = BlockPool::Create(CacheShapeOf(config), most / kBlockTokens + 2);
  LATENTD_CHECK(pool.ok());
  const auto make = [&](Determinism determinism) {
    return ModelExecutor(config, (*model)->weights, context, (*pool)->layout(), (*pool)->base(),
                         kStepTokens, determinism);
  };
  ModelExecutor strict = make(Determinism::kStrict), relaxed = make(Determinism::kRelaxed);
  BenchCache cache(pool->get(), &strict, kStepTokens);
  LATENTD_CHECK(cache.Resize(1, most, config.full_width()).ok());
  std::printf("cpu %s, %s threads, %lld rounds\n\n", std::string(Name(context.cpu_path)).c_str(),
              argv[2], static_cast<long long>(rounds));
  std::printf("| work | depth | strict ms | relaxed ms | relaxed / strict | lowest to highest |\n");
  std::printf("|---|---|---|---|---|---|\n");
  for (const int64_t depth : depths) {
    cache.Synthesize(depth);
    for (const int64_t tokens : prefills) {
      Compare(&strict, &relaxed, cache,
              {BenchWork::Kind::kPrefill, depth, 1, tokens, config.full_width()}, rounds);
    }
    Compare(&strict, &relaxed, cache, {BenchWork::Kind::kDecode, depth, 1, 1, config.full_width()},
            4 * rounds);
  }
  return 0;
}

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr,
                 "usage: latentd_strict_price CONFIG.json THREADS ROUNDS PREFILLS DEPTHS\n");
    return 2;
  }
  return latentd::RunPrice(argv);
}
