// What int8 and int4 weights save: the same work with weights as stored (random bf16) and as
// copies, in turn within each round and in processor time, so that the ratio holds though the
// machine is shared.
//   latentd_copies_price CONFIG.json THREADS ROUNDS PREFILLS BATCHES     lists with commas
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <fstream>
#include <iterator>

#include "bench/price/price.h"
#include "cache/block_pool.h"
#include "engine/bench/bench_runner.h"
#include "engine/model/cache_shape.h"
#include "engine/model/loader.h"
#include "engine/model/model_executor.h"
#include "engine/model/weight_copies.h"
#include "kernels/core/check.h"
#include "kernels/core/thread_pool.h"

namespace latentd {
namespace {

constexpr int64_t kStepTokens = 512;
constexpr uint64_t kMaxWeightBytes = uint64_t{8} << 30;

// The weights as stored, int8 and int4; what is not copied they share.
std::vector<Weights> EveryFormat(const Weights& stored) {
  std::vector<Weights> all = {stored};
  std::vector<std::string> notes;
  for (const WeightCopies format : {WeightCopies::kInt8, WeightCopies::kInt4}) {
    all.push_back(stored);
    const std::clock_t begin = std::clock();
    LATENTD_CHECK(MakeCopies({format, 1, kMaxWeightBytes, {}}, &all.back(), &notes).ok());
    std::printf("%s, made in %.1f s of one processor\n", notes.back().c_str(),
                static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  return all;
}

void Compare(std::deque<ModelExecutor>& executors, const BenchCache& cache, const BenchWork& work,
             int64_t rounds) {
  const bool decode = work.kind == BenchWork::Kind::kDecode;
  for (size_t i = 1; i < executors.size(); ++i) {
    const Price price =
        ComparePrice(&executors.front(), &executors[i], cache, kStepTokens, work, rounds);
    std::printf("| %s %lld | %s | %.1f | %.1f | %.3f | %.3f to %.3f |\n",
                decode ? "decode, batch" : "prefill",
                static_cast<long long>(decode ? work.batch : work.tokens),
                Name(static_cast<WeightCopies>(i)), price.base_ms, price.other_ms, price.ratio,
                price.lowest, price.highest);
    std::fflush(stdout);
  }
}

int RunPrice(char** argv) {
  std::ifstream file(argv[1], std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto model = MakeRandomModel(text, /*seed=*/1, kMaxWeightBytes);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", std::string(model.status().message()).c_str());
    return 1;
  }
  const std::vector<Weights> weights = EveryFormat((*model)->weights);
  ThreadPool threads(std::atoi(argv[2]));
  const int64_t rounds = std::atoll(argv[3]);
  const std::vector<int64_t> prefills = Numbers(argv[4]), batches = Numbers(argv[5]);
  const Context context{BestCpuPath(), &threads};
  const ModelConfig& config = (*model)->config;
  const int64_t tokens = *std::max_element(prefills.begin(), prefills.end());
  const int64_t sequences = *std::max_element(batches.begin(), batches.end());
  auto pool = BlockPool::Create(CacheShapeOf(config), sequences * (tokens / kBlockTokens + 1));
  LATENTD_CHECK(pool.ok());
  std::deque<ModelExecutor> executors;  // which stay where they are
  for (const Weights& format : weights) {
    executors.emplace_back(config, format, context, (*pool)->layout(), (*pool)->base(),
                           kStepTokens);
  }
  BenchCache cache(pool->get(), &executors.front(), kStepTokens);
  LATENTD_CHECK(cache.Resize(sequences, tokens, config.full_width()).ok());
  cache.Synthesize(0);
  std::printf("cpu %s, %s threads, %lld rounds\n\n", std::string(Name(context.cpu_path)).c_str(),
              argv[2], static_cast<long long>(rounds));
  std::printf("| work | weights | as stored ms | copies ms | copies / as stored | from to |\n");
  std::printf("|---|---|---|---|---|---|\n");
  const Width full = config.full_width();
  for (const int64_t batch : batches) {
    Compare(executors, cache, {BenchWork::Kind::kDecode, 0, batch, 1, full}, 4 * rounds);
  }
  for (const int64_t count : prefills) {
    Compare(executors, cache, {BenchWork::Kind::kPrefill, 0, 1, count, full}, rounds);
  }
  return 0;
}

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr,
                 "usage: latentd_copies_price CONFIG.json THREADS ROUNDS PREFILLS BATCHES\n");
    return 2;
  }
  return latentd::RunPrice(argv);
}
