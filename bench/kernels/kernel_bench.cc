// Prints the machine's roofs, and the dot tile and absorbed attention as shares of them.
//   latentd_kernel_bench [threads] [cpu path ...]
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/roofs.h"
#include "kernels/core/thread_pool.h"
#include "kernels/core/timing.h"
#include "kernels/linear.h"
#include "kernels/mla_attention.h"
#include "kernels/quantise.h"

namespace latentd::bench {
namespace {

// A random pattern of a prime length, repeated: cheap to make, and no row equals another.
std::vector<bf16> RandomBf16(std::mt19937& rng, int64_t count) {
  constexpr int64_t kPeriod = 65521;
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<bf16> values(count);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = i < kPeriod ? ToBf16(uniform(rng)) : values[i - kPeriod];
  }
  return values;
}

// Y[M, 6144] = X[M, 2048] · Wᵀ over several matrices in turn, so that weights come from memory.
// With weights as bf16 where `format` is null.
void BenchLinear(const Context& context, const Roofs& roofs, const BlockFormat* format) {
  constexpr int64_t kN = 6144, kK = 2048, kMatrices = 8, kMaxM = 512;
  std::mt19937 rng(1);
  const std::vector<bf16> w = RandomBf16(rng, kMatrices * kN * kK);
  const std::vector<float> x(kMaxM * kK, 0.5f);
  std::vector<float> y(kMaxM * kN);
  const int64_t copy_bytes = format != nullptr ? format->Bytes(kN, kK) : 0;
  std::vector<std::byte> copies(kMatrices * copy_bytes);
  std::vector<WeightView> matrices;
  for (int64_t i = 0; i < kMatrices; ++i) {
    const WeightView stored = {w.data() + i * kN * kK, DType::kBF16, kN, kK, kK};
    matrices.push_back(format != nullptr
                           ? Quantise(context.pool, *format, stored, copies.data() + i * copy_bytes)
                           : stored);
  }
  const double matrix_bytes = static_cast<double>(format != nullptr ? copy_bytes : 2 * kN * kK);
  const std::string name = format != nullptr ? "int" + std::to_string(format->bits) : "bf16";
  int64_t turn = 0;
  for (const int64_t m : {1, 2, 4, 8, 16, 32, 64, 256, 512}) {
    const double seconds = BestSeconds([&] {
      Linear(context, {.x = {x.data(), m, kK, kK},
                       .w = matrices[turn++ % kMatrices],
                       .y = {y.data(), m, kN, kN}});
    });
    const double bytes = matrix_bytes / seconds;
    const double flops = 2.0 * static_cast<double>(m) * kN * kK / seconds;
    std::printf("  %s linear M %3ld  %8.3f ms  %5.1f GB/s (%3.0f %%)  %6.3f TFLOP/s (%3.0f %%)\n",
                name.c_str(), static_cast<long>(m), seconds * 1e3, bytes * 1e-9,
                100 * bytes / roofs.read_bytes_per_second, flops * 1e-12,
                100 * flops / roofs.flops_per_second);
  }
}

// One sequence, r = 512, d_r = 64: `tokens` query tokens at the end of `context_tokens`.
void BenchAttention(const Context& context, const Roofs& roofs, int64_t heads, int64_t tokens,
                    int64_t context_tokens) {
  constexpr int64_t kLatent = 512, kRope = 64, kWidth = kLatent + kRope;
  constexpr int64_t kGranules = kBlockTokens * kWidth * 2 / kGranuleBytes;
  std::mt19937 rng(2);
  const int64_t blocks = (context_tokens + kBlockTokens - 1) / kBlockTokens;
  const std::vector<bf16> pool = RandomBf16(rng, blocks * kBlockTokens * kWidth);
  std::vector<uint32_t> table(blocks);
  for (int64_t b = 0; b < blocks; ++b) table[b] = static_cast<uint32_t>(b * kGranules);
  const std::vector<float> q(tokens * heads * kWidth, 0.01f);
  std::vector<float> out(tokens * heads * kLatent);
  const AttentionSequence sequence = {.block_table = table,
                                      .first_row = 0,
                                      .num_tokens = tokens,
                                      .first_position = context_tokens - tokens};
  MlaAttentionArgs args;
  args.q = {q.data(), tokens * heads, kWidth, kWidth};
  args.out = {out.data(), tokens * heads, kLatent, kLatent};
  args.num_heads = heads;
  args.row_latent = kLatent;
  args.rope_dim = kRope;
  args.pool = reinterpret_cast<const std::byte*>(pool.data());
  args.layer = {.rows = 0, .alphas = 0, .row_bytes = kWidth * 2};
  args.sequences = {&sequence, 1};
  const double seconds = BestSeconds([&] { MlaAttention(context, args); });
  const auto pairs = static_cast<double>(tokens * context_tokens);
  const double flops = pairs * 2 * static_cast<double>(heads * (kWidth + kLatent)) / seconds;
  std::printf("  attention H %3ld, %3ld query tokens at %6ld: %6.1f ns a token pair (%3.0f %%)\n",
              static_cast<long>(heads), static_cast<long>(tokens),
              static_cast<long>(context_tokens), seconds * 1e9 / pairs,
              100 * flops / roofs.flops_per_second);
}

void BenchPath(CpuPath path, ThreadPool& pool) {
  const Context context = {path, &pool};
  const Roofs roofs = MeasureRoofs(context);
  std::printf("%s, %d threads: reads %.1f GB/s, multiply-adds %.3f TFLOP/s\n", Name(path).data(),
              pool.num_threads(), roofs.read_bytes_per_second * 1e-9,
              roofs.flops_per_second * 1e-12);
  for (const BlockFormat* format :
       {static_cast<const BlockFormat*>(nullptr), &kInt8Format, &kInt4Format}) {
    BenchLinear(context, roofs, format);
  }
  for (const int64_t length : {2048, 8192, 32768}) BenchAttention(context, roofs, 16, 1, length);
  BenchAttention(context, roofs, 128, 1, 2048);
  BenchAttention(context, roofs, 16, 64, 2048);
}

}  // namespace
}  // namespace latentd::bench

int main(int argc, char** argv) {
  using namespace latentd;
  const int num_threads = argc > 1 ? std::atoi(argv[1]) : 2;
  if (num_threads < 1) {
    std::fprintf(stderr, "usage: latentd_kernel_bench [threads] [cpu path ...]\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  ThreadPool pool(num_threads);
  if (argc <= 2) bench::BenchPath(BestCpuPath(), pool);
  for (int i = 2; i < argc; ++i) {
    const std::optional<CpuPath> path = ParseCpuPath(argv[i]);
    if (!path.has_value()) {
      std::fprintf(stderr, "'%s' is no CPU path\n", argv[i]);
      return 2;
    }
    bench::BenchPath(*path, pool);
  }
}
