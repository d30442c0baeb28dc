// What int8 weights save: the same work with weights as stored (random bf16) and as int8, in turn
// within each round and in processor time, so that the ratio holds though the machine is shared.
//   latentd_int8_price CONFIG.json THREADS ROUNDS PREFILLS BATCHES     lists with commas
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

constexpr int64_t kStepTokens = 512;
constexpr uint64_t kMaxWeightBytes = uint64_t{8} << 30;

void Compare(ModelExecutor* stored, ModelExecutor* int8, const BenchCache& cache,
             const BenchWork& work, int64_t rounds) {
  const Price price = ComparePrice(stored, int8, cache, kStepTokens, work, rounds);
  const bool decode = work.kind == BenchWork::Kind::kDecode;
  std::printf("| %s %lld | %.1f | %.1f | %.3f | %.3f to %.3f |\n",
              decode ? "decode, batch" : "prefill",
              static_cast<long long>(decode ? work.batch : work.tokens), price.base_ms,
              price.other_ms, price.ratio, price.lowest, price.highest);
  std::fflush(stdout);
}

int RunPrice(char** argv) {
  std::ifstream file(argv[1], std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto stored = MakeRandomModel(text, /*seed=*/1, kMaxWeightBytes);
  const auto int8 = MakeRandomModel(text, /*seed=*/1, kMaxWeightBytes, /*int8_weights=*/true);
  if (!stored.ok() || !int8.ok()) {
    const absl::Status& status = stored.ok() ? int8.status() : stored.status();
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  ThreadPool threads(std::atoi(argv[2]));
  const int64_t rounds = std::atoll(argv[3]);
  const std::vector<int64_t> prefills = Numbers(argv[4]), batches = Numbers(argv[5]);
  const Context context{BestCpuPath(), &threads};
  const ModelConfig& config = (*stored)->config;
  const int64_t tokens = *std::max_element(prefills.begin(), prefills.end());
  const int64_t sequences = *std::max_element(batches.begin(), batches.end());
  auto pool = BlockPool::Create(CacheShapeOf(config), sequences * (tokens / kBlockTokens + 1));
  LATENTD_CHECK(pool.ok());
  const auto make = [&](const Model& model) {
    return ModelExecutor(config, model.weights, context, (*pool)->layout(), (*pool)->base(),
                         kStepTokens);
  };
  ModelExecutor of_stored = make(**stored), of_int8 = make(**int8);
  BenchCache cache(pool->get(), &of_stored, kStepTokens);
  LATENTD_CHECK(cache.Resize(sequences, tokens, config.full_width()).ok());
  cache.Synthesize(0);
  std::printf("cpu %s, %s threads, %lld rounds\n\n", std::string(Name(context.cpu_path)).c_str(),
              argv[2], static_cast<long long>(rounds));
  std::printf("| work | as stored ms | int8 ms | int8 / as stored | lowest to highest |\n");
  std::printf("|---|---|---|---|---|\n");
  const Width full = config.full_width();
  for (const int64_t batch : batches) {
    Compare(&of_stored, &of_int8, cache, {BenchWork::Kind::kDecode, 0, batch, 1, full}, 4 * rounds);
  }
  for (const int64_t count : prefills) {
    Compare(&of_stored, &of_int8, cache, {BenchWork::Kind::kPrefill, 0, 1, count, full}, rounds);
  }
  return 0;
}

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: latentd_int8_price CONFIG.json THREADS ROUNDS PREFILLS BATCHES\n");
    return 2;
  }
  return latentd::RunPrice(argv);
}
