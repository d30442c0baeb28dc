// The amx path: avx512-bf16 with the matrix registers for products of bf16 weights. Compiled, and
// its loops tested over the instruction written out; never run on a CPU that has it.
#include <immintrin.h>

#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/avx512_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

// The operand of ldtilecfg.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// The intrinsics want the register's number as a literal, hence assembly.
struct AmxTiles {
  static void Configure(int64_t weight_rows, int64_t tokens) {
    TileConfig config;
    const auto set = [&config](int tile, int64_t rows, int64_t row_bytes) {
      config.rows[tile] = static_cast<uint8_t>(rows);
      config.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
    };
    for (int tile = 0; tile < 4; ++tile) set(tile, weight_rows, tokens * 4);
    for (int tile = 4; tile < 6; ++tile) set(tile, weight_rows, kAmxStep * 2);
    set(6, kAmxStep / 2, tokens * 4);
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  static void Release() { asm volatile("tilerelease"); }
  template <int kTile>
  static void Zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void Load(const uint16_t* from, int64_t row_bytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(kTile)
                 : "memory");
  }
  template <int kTile>
  static void Store(float* to, int64_t row_bytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "i"(kTile) : "memory");
  }
  template <int kSum, int kWeights, int kTokens>
  static void MultiplyAdd() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kWeights), "i"(kTokens));
  }
  static void Round(const float* from, uint16_t* to) {
    for (int i = 0; i < kAmxStep; i += 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), RoundBf16(_mm512_loadu_ps(from + i)));
    }
  }
};

}  // namespace

void AddAmxKernels(CpuKernels& kernels) {
  kernels.dot[static_cast<int>(DType::kBF16)] = AmxDotKernels<AmxTiles>();
}

}  // namespace latentd
