// What attention costs from an int8 cache: the same queries over random latents in both formats, in
// turn within each round and in processor time, so that the ratio holds though the machine is
// shared. One layer of r 512 and d_r 64 without key norm.
//   latentd_cache_price THREADS ROUNDS HEADS QUERY_TOKENS DEPTHS [CPU_PATH]     lists with commas
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "bench/price/price.h"
#include "cache/block_pool.h"
#include "engine/bench/bench_cache.h"
#include "kernels/core/check.h"
#include "kernels/core/thread_pool.h"
#include "kernels/mla_attention.h"

namespace latentd {
namespace {

constexpr int64_t kRank = 512, kRope = 64;

// One sequence in one format.
struct Cache {
  Cache(CacheFormat format, int64_t depth)
      : pool(*BlockPool::Create(BlockLayout::Make(1, kRank, kRope, 0, format),
                                depth / kBlockTokens + 1)) {
    for (int64_t t = 0; t < depth; t += kBlockTokens) {
      table.push_back(*pool->Allocate());
      SynthesizeBlock(pool->Block(table.back()), pool->layout(), kRank, table.size());
    }
  }
  std::unique_ptr<BlockPool> pool;
  std::vector<uint32_t> table;
};

struct Work {
  int64_t heads, tokens, depth;
};

void Compare(const Context& context, const Work& work, int64_t rounds) {
  const int64_t rows = work.tokens * work.heads;
  const std::vector<float> q(static_cast<size_t>(rows * (kRank + kRope)), 0.01f);
  std::vector<float> out(static_cast<size_t>(rows * kRank));
  // Some 2^21 scores at a time, which take tens of milliseconds.
  const int64_t repeats = (int64_t{1} << 21) / (rows * work.depth) + 1;
  const auto attend = [&](Cache& cache) {
    const AttentionSequence sequence = {.block_table = cache.table,
                                        .first_row = 0,
                                        .num_tokens = work.tokens,
                                        .first_position = work.depth - work.tokens};
    MlaAttentionArgs args;
    args.q = {q.data(), rows, kRank + kRope, kRank + kRope};
    args.out = {out.data(), rows, kRank, kRank};
    args.num_heads = work.heads;
    args.row_latent = kRank;
    args.rope_dim = kRope;
    args.softmax_scale = 0.1f;
    args.pool = cache.pool->base();
    args.layer = cache.pool->layout().layer(0);
    args.sequences = {&sequence, 1};
    for (int64_t i = 0; i < repeats; ++i) MlaAttention(context, args);
  };
  Cache bf16(CacheFormat::kBf16, work.depth), int8(CacheFormat::kInt8, work.depth);
  const Price price = ComparePrice([&] { attend(bf16); }, [&] { attend(int8); }, rounds);
  const double pairs = static_cast<double>(repeats * work.tokens * work.depth);
  std::printf("| %lld | %lld | %lld | %.0f | %.0f | %.3f | %.3f to %.3f |\n",
              static_cast<long long>(work.heads), static_cast<long long>(work.tokens),
              static_cast<long long>(work.depth), 1e6 * price.base_ms / pairs,
              1e6 * price.other_ms / pairs, price.ratio, price.lowest, price.highest);
  std::fflush(stdout);
}

int RunPrice(int argc, char** argv) {
  const auto path = argc > 6 ? ParseCpuPath(argv[6]) : std::optional(BestCpuPath());
  if (!path || !Supported(*path)) {
    std::fprintf(stderr, "'%s' is no CPU path of this machine\n", argv[6]);
    return 2;
  }
  ThreadPool threads(std::atoi(argv[1]));
  const Context context{*path, &threads};
  std::printf("cpu %s, %s threads, %s rounds\n\n", std::string(Name(*path)).c_str(), argv[1],
              argv[2]);
  std::printf(
      "| H | query tokens | depth | bf16 ns | int8 ns | int8 / bf16 | lowest to highest |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (const int64_t heads : Numbers(argv[3])) {
    for (const int64_t tokens : Numbers(argv[4])) {
      for (const int64_t depth : Numbers(argv[5])) {
        LATENTD_CHECK(tokens >= 1 && depth >= tokens);
        Compare(context, {heads, tokens, depth}, std::atoll(argv[2]));
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::fprintf(
        stderr, "usage: latentd_cache_price THREADS ROUNDS HEADS QUERY_TOKENS DEPTHS [CPU_PATH]\n");
    return 2;
  }
  return latentd::RunPrice(argc, argv);
}
