// The functions that each vector path supplies, and the data they work on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/cache_format.h"
#include "kernels/core/context.h"
#include "kernels/core/dtype.h"
#include "kernels/cpu/attention_table.h"

namespace latentd {

constexpr int64_t kDotBlock = 2048;  // K is summed in blocks of so many elements, folded left
constexpr int64_t kPackAlign = 32;   // packed tokens are zero-padded to a multiple of this along K

// A run of weight rows against a run of tokens: y[t, n] = Σ_k x[t, k] · w[n, k] (+ bias[n]).
struct DotPanel {
  const void* w = nullptr;  // [num_rows, k], the dtype that the function is for
  int64_t w_ld = 0;         // elements
  int64_t num_rows = 0;
  const void* x = nullptr;  // num_tokens tokens as DotKernels::pack left them
  int64_t num_tokens = 0;
  int64_t k = 0;
  float* y = nullptr;  // [num_tokens, num_rows]
  int64_t y_ld = 0;
  const float* bias = nullptr;  // [num_rows] or null
};

// How a run of tokens is cut into tiles of at most `most` tokens: as few as can be, and as equal,
// since a small tile costs as many loads of weights as a full one.
struct TokenTiles {
  int64_t num_tokens;
  int64_t most;

  int64_t Count() const { return (num_tokens + most - 1) / most; }
  // The first token of tile i; of tile Count(), the end. REQUIRES: num_tokens > 0.
  int64_t First(int64_t i) const {
    const int64_t count = Count(), longer = num_tokens % count;
    return i * (num_tokens / count) + (i < longer ? i : longer);
  }
};

// Dot products of one weight dtype. An output is one vector accumulator carried along a block of K
// and folded by one fixed tree, so its bits do not depend on the tile that it was computed in.
struct DotKernels {
  int64_t tokens_per_tile = 0;  // at most; see TokenTiles
  // Rounds `count` <= tokens_per_tile tokens of k elements, ld floats apart, and interleaves them
  // step by step: one tile. Tiles follow each other.
  void (*pack)(const float* x, int64_t ld, int64_t count, int64_t k, void* tile) = nullptr;
  int64_t packed_element_bytes = 0;
  void (*run)(const DotPanel& panel) = nullptr;
  int64_t chunk_rows = 8;  // a panel has a multiple of them, but for the last of a matrix
};

// y[t, n] = Σ_k x[t, k] · w[k, n], ascending k, over a run of lanes n.
struct TransposedPanel {
  const float* x = nullptr;  // [num_tokens, k], rounded already where the dtype asks for it
  int64_t x_ld = 0;
  int64_t num_tokens = 0;
  const void* w = nullptr;  // [k, num_lanes]
  int64_t w_ld = 0;         // elements
  int64_t k = 0;
  int64_t num_lanes = 0;
  float* y = nullptr;  // [num_tokens, num_lanes]
  int64_t y_ld = 0;
};

// A row of quantised weights as fp32, to the bits of DequantiseRow(): `cols` elements, one scale
// for every `block` of them (whole bytes). The row begins on a byte.
using DequantiseKernel = void (*)(const void* row, const float* scales, int64_t block, int64_t cols,
                                  float* to);

// A run of int8 or int4 weight rows (kernels/quantise.h) against a run of tokens.
struct Int8Panel {
  const std::byte* w = nullptr;  // the block of the first row and group
  int64_t blocks_per_row = 0;    // between two blocks of 16 rows
  int64_t num_groups = 0;        // that take part
  int64_t skipped_rows = 0;      // of the first block; below 16
  int64_t num_rows = 0;          // behind them
  const std::byte* x = nullptr;  // num_tokens tokens as Int8Kernels::pack left them
  int64_t num_tokens = 0;
  int64_t tile_tokens = 0;  // of every tile but the last
  float* y = nullptr;       // [num_tokens, num_rows]
  int64_t y_ld = 0;
  const float* bias = nullptr;  // [num_rows] or null
};

// Products of one format of weights with int8 tokens: the same bits whoever computes them.
struct Int8Kernels {
  int64_t row_blocks_per_tile = 0;  // of 16 rows
  int64_t tokens_per_tile = 0;
  int64_t token_bytes = 0;  // of one packed token and group
  // Quantises `count` <= tokens_per_tile tokens of k elements, ld floats apart: one tile.
  void (*pack)(const float* x, int64_t ld, int64_t count, int64_t k, std::byte* tile) = nullptr;
  void (*run)(const Int8Panel& panel) = nullptr;
};

// One path's kernels. Every path is one translation unit compiled with its own instruction set, so
// it must define no inline function that another unit also defines: the linker keeps one copy,
// perhaps the one that this machine cannot run. Hence plain pointers here and anonymous namespaces
// there.
struct CpuKernels {
  DotKernels dot[3];                                         // by DType, up to kBF16
  void (*transposed[3])(const TransposedPanel& panel) = {};  // the same
  DequantiseKernel dequantise_e4m3 = nullptr;
  DequantiseKernel dequantise_int4 = nullptr;
  Int8Kernels int8, int4;         // by the weights' format
  AttentionKernels attention[2];  // by CacheFormat
  // gate[j] = silu(gate[j]) · up[j]
  void (*silu_mul)(float* gate, const float* up, int64_t count) = nullptr;
  // largest = max(largest, scale · max s), s[i] = e^(scale · s[i] − largest) rounded to bf16;
  // returns Σ s[i]. count is a multiple of 16, at least one s is finite, scale > 0.
  float (*softmax_weights)(float* s, int64_t count, float scale, float* largest) = nullptr;
};

// Null for CpuPath::kScalar, whose operators are the plain *_scalar.cc files.
const CpuKernels* KernelsOf(CpuPath path);

// Each fills in what it has; a later path of the same processors starts from the one before.
void AddAvx2Kernels(CpuKernels& kernels);
void AddAvx512Kernels(CpuKernels& kernels);
void AddAvx512Bf16Kernels(CpuKernels& kernels);
void AddAmxKernels(CpuKernels& kernels);
void AddNeonKernels(CpuKernels& kernels);
void AddSveKernels(CpuKernels& kernels);

// Products with int8 tokens, in files of their own. VNNI and sdot are no paths: they change no bit,
// so both AVX-512 paths and NEON take them where the CPU has them.
void AddAvx2Int8(CpuKernels& kernels);
void AddAvx512VnniInt8(CpuKernels& kernels);
void AddNeonInt8(CpuKernels& kernels);
void AddNeonDotInt8(CpuKernels& kernels);
void AddSveInt8(CpuKernels& kernels);
bool HasSdot();  // on AArch64

// The attention of each path, in a file of its own.
AttentionKernels Avx2Attention(CacheFormat format);
AttentionKernels Avx512Attention(CacheFormat format);
AttentionKernels Avx512Bf16Attention(CacheFormat format);
AttentionKernels NeonAttention(CacheFormat format);
AttentionKernels SveAttention(CacheFormat format);

}  // namespace latentd
