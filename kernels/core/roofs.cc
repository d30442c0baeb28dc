#include "kernels/core/roofs.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "kernels/core/thread_pool.h"
#include "kernels/core/timing.h"

namespace latentd {
namespace {

constexpr int kChains = 16;  // independent accumulators: more than latency × throughput anywhere
constexpr int64_t kSteps = 1 << 13;  // tens of microseconds: some runs are not interrupted

volatile float g_sink;
volatile uint64_t g_word_sink;

// Each runs kSteps · kChains of its path's instruction.
#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void FmaChains256() {
  __m256 acc[kChains] = {};
  __m256 one = _mm256_set1_ps(1);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      asm volatile("vfmadd231ps %1, %1, %0" : "+x"(acc[j]) : "x"(one));
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < kChains; ++j) g_sink = _mm256_cvtss_f32(acc[j]);
}

__attribute__((target("avx512f"))) void FmaChains512() {
  __m512 acc[kChains] = {};
  __m512 one = _mm512_set1_ps(1);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      asm volatile("vfmadd231ps %1, %1, %0" : "+v"(acc[j]) : "v"(one));
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < kChains; ++j) g_sink = _mm512_cvtss_f32(acc[j]);
}

__attribute__((target("avx512f,avx512bf16"))) void DpChains512() {
  __m512 acc[kChains] = {};
  __m512i ones = _mm512_set1_epi32(0x3f803f80);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      asm volatile("vdpbf16ps %1, %1, %0" : "+v"(acc[j]) : "v"(ones));
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < kChains; ++j) g_sink = _mm512_cvtss_f32(acc[j]);
}

#elif defined(__aarch64__)
void FmaChains128() {
  float32x4_t acc[kChains] = {};
  const float32x4_t one = vdupq_n_f32(1);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < kChains; ++j) {
      asm volatile("fmla %0.4s, %1.4s, %1.4s" : "+w"(acc[j]) : "w"(one));
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < kChains; ++j) g_sink = vgetq_lane_f32(acc[j], 0);
}

// Registers by their names: only a file for one length of vectors has variables of them in arrays.
__attribute__((target("arch=armv8.2-a+sve+bf16"))) void MmlaChains256() {
  static_assert(kChains == 16);
  int64_t steps = kSteps;
  asm volatile(
      "dup z16.h, #63, lsl #8\n"  // 0.5
      ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
      "dup z\\r\\().s, #0\n"
      ".endr\n"
      "1:\n"
      ".irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
      "bfmmla z\\r\\().s, z16.h, z16.h\n"
      ".endr\n"
      "subs %0, %0, #1\n"
      "b.ne 1b\n"
      : "+r"(steps)
      :
      : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",
        "v13", "v14", "v15", "v16");
}
#endif

void ScalarChains() {
  float acc[kChains] = {};
  for (int64_t i = 0; i < kSteps; ++i) {
    for (int j = 0; j < kChains; ++j) acc[j] = acc[j] * 0.5f + 1;
  }
  g_sink = std::accumulate(acc, acc + kChains, 0.0f);
}

struct Arithmetic {
  void (*run)();
  int flops;  // of one instruction
};

Arithmetic ArithmeticOf(CpuPath path) {
  switch (path) {
#if defined(__x86_64__)
    case CpuPath::kAvx2:
      return {FmaChains256, 16};
    case CpuPath::kAvx512:
      return {FmaChains512, 32};
    case CpuPath::kAvx512Bf16:
    case CpuPath::kAmx:  // no roof of its own yet: a share may exceed one
      return {DpChains512, 64};
#elif defined(__aarch64__)
    case CpuPath::kNeon:
      return {FmaChains128, 8};
    case CpuPath::kSve:
      return {MmlaChains256, 64};
#endif
    default:
      return {ScalarChains, 2};
  }
}

}  // namespace

Roofs MeasureRoofs(const Context& context) {
  const Arithmetic arithmetic = ArithmeticOf(context.cpu_path);
  const int threads = context.pool->num_threads();
  const auto compute = [&](int64_t, int64_t, int) { arithmetic.run(); };
  Roofs roofs;
  roofs.flops_per_second =
      static_cast<double>(threads * kSteps * kChains * arithmetic.flops) /
      BestSeconds([&] { context.pool->ParallelFor(threads, 1, std::ref(compute)); });

  // Slices of an array larger than any cache, in turn; read in chunks, as the kernels read weights.
  constexpr int64_t kSlice = int64_t{2} << 20;
  const std::vector<uint64_t> words(int64_t{64} << 20, 1);
  int64_t slice = 0;
  const auto read = [&](int64_t begin, int64_t end, int) {
    uint64_t sums[8] = {};
    for (int64_t i = slice + begin; i < slice + end; i += 8) {
      for (int64_t j = 0; j < 8; ++j) sums[j] += words[i + j];
    }
    g_word_sink = std::accumulate(sums, sums + 8, uint64_t{0});
  };
  const double seconds = BestSeconds([&] {
    context.pool->ParallelFor(kSlice, 1 << 14, std::ref(read));
    slice = (slice + kSlice) % static_cast<int64_t>(words.size());
  });
  roofs.read_bytes_per_second = static_cast<double>(kSlice * 8) / seconds;
  return roofs;
}

}  // namespace latentd
