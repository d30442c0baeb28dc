#include "kernels/cpu/linear_tiled.h"

#include <algorithm>
#include <functional>

#include "kernels/core/rounding.h"
#include "kernels/core/rows.h"
#include "kernels/core/scratch.h"
#include "kernels/dequantise.h"

namespace latentd {
namespace {

// Tokens that are packed at a time: at K = 2048 in bf16 768 KiB, which leaves room for the weights
// in an L2 of 1–2 MiB. A multiple of every path's tile.
constexpr int64_t kTokenBlock = 192;
// Weights that a thread takes at a time: long enough to stream, short enough to share out. The
// first rows of a chunk are not fetched ahead, so a large matrix goes in large chunks.
constexpr int64_t kLeastChunkBytes = 128 * 1024, kMostChunkBytes = 512 * 1024;
constexpr int64_t kChunks = 32;  // of a matrix between these

const std::byte* BatchWeights(const WeightView& w, int64_t b, int64_t share, int64_t stride) {
  return static_cast<const std::byte*>(w.data) +
         b / share * stride * static_cast<int64_t>(SizeOf(w.dtype));
}

// The packed tokens of one block: batch item b begins at b · tokens · padded_k elements.
struct PackedBlock {
  const LinearArgs& args;
  const DotKernels& dot;
  int64_t first_token;
  int64_t num_tokens;
  int64_t padded_k;
  std::byte* data;

  std::byte* Item(int64_t b) const { return Token(b, 0); }
  std::byte* Token(int64_t b, int64_t token) const {
    return data + (b * num_tokens + token) * padded_k * dot.packed_element_bytes;
  }
};

void Pack(const Context& context, const PackedBlock& block) {
  const TokenTiles tiles = {block.num_tokens, block.dot.tokens_per_tile};
  const int64_t count = tiles.Count();
  const auto& args = block.args;
  ForEachRow(context, args.batch * count, tiles.most * args.x.cols, [&](int64_t i) {
    const int64_t b = i / count;
    const int64_t token = tiles.First(i % count);
    const float* x = args.x.row(block.first_token + token) + b * args.x_batch_stride;
    block.dot.pack(x, args.x.ld, tiles.First(i % count + 1) - token, args.x.cols,
                   block.Token(b, token));
  });
}

// The dtype that the dot kernels see.
DType DotType(const WeightView& w) { return IsQuantised(w.dtype) ? DType::kF32 : w.dtype; }

// Rows as fp32 in this thread's tile, which lasts until the next call: [w.rows, w.cols].
const float* DequantisedTile(const CpuKernels& kernels, const WeightView& w) {
  thread_local Scratch scratch;
  float* const tile = scratch.GetArray<float>(w.rows * w.cols + ScalesPerRow(w));
  float* const scales = tile + w.rows * w.cols;
  const DequantiseKernel dequantise =
      w.dtype == DType::kE4M3 ? kernels.dequantise_e4m3 : kernels.dequantise_int4;
  const auto* row = static_cast<const std::byte*>(w.data);
  for (int64_t n = 0; n < w.rows; ++n, row += BytesOf(w.dtype, w.ld)) {
    dequantise(row, RowScales(w, n, scales), w.scales.block_cols, w.cols, tile + n * w.cols);
  }
  return tile;
}

void RunBlock(const Context& context, const CpuKernels& kernels, const PackedBlock& block) {
  const LinearArgs& args = block.args;
  const auto element_bytes = static_cast<int64_t>(SizeOf(DotType(args.w)));
  const int64_t row_bytes = std::max<int64_t>(1, args.w.cols * element_bytes);
  const int64_t chunk_bytes =
      std::clamp(args.batch * args.w.rows * row_bytes / kChunks, kLeastChunkBytes, kMostChunkBytes);
  const int64_t unit = block.dot.chunk_rows;
  const int64_t rows = std::max<int64_t>(1, chunk_bytes / row_bytes / unit) * unit;
  const int64_t chunks = CeilDiv(args.w.rows, rows);
  const auto run = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / chunks;
      const int64_t n = i % chunks * rows;
      DotPanel panel;
      panel.num_rows = std::min(rows, args.w.rows - n);
      if (IsQuantised(args.w.dtype)) {
        panel.w = DequantisedTile(kernels, args.w.Rows(n, panel.num_rows));
        panel.w_ld = args.w.cols;
      } else {
        panel.w = BatchWeights(args.w, b, args.w_batch_share, args.w_batch_stride) +
                  n * args.w.ld * element_bytes;
        panel.w_ld = args.w.ld;
      }
      panel.x = block.Item(b);
      panel.num_tokens = block.num_tokens;
      panel.k = args.w.cols;
      panel.y = args.y.row(block.first_token) + b * args.y_batch_stride + n;
      panel.y_ld = args.y.ld;
      panel.bias = args.bias != nullptr ? args.bias + n : nullptr;
      block.dot.run(panel);
    }
  };
  ParallelFor(context.pool, args.batch * chunks, 1, std::ref(run));
}

// x of one weight's batch items and tokens, as the weights' dtype wants it.
void RoundTokens(const Context& context, const LinearTransposedArgs& args, int64_t first_token,
                 int64_t num_tokens, float* rounded) {
  const int64_t k = args.x.cols;
  ForEachRow(context, args.batch * num_tokens, k, [&](int64_t i) {
    const float* from =
        args.x.row(first_token + i % num_tokens) + i / num_tokens * args.x_batch_stride;
    float* to = rounded + i * k;
    if (args.w.dtype == DType::kBF16) {
      for (int64_t j = 0; j < k; ++j) to[j] = RoundToBf16(from[j]);
    } else {
      std::copy_n(from, k, to);
    }
  });
}

}  // namespace

void LinearTiled(const Context& context, const CpuKernels& kernels, const LinearArgs& args) {
  thread_local Scratch packed;
  const DotKernels& dot = kernels.dot[static_cast<int>(DotType(args.w))];
  const int64_t padded_k = CeilDiv(args.w.cols, kPackAlign) * kPackAlign;
  for (int64_t token = 0; token < args.x.rows; token += kTokenBlock) {
    const int64_t count = std::min(kTokenBlock, args.x.rows - token);
    const PackedBlock block = {
        args,  dot,      token,
        count, padded_k, packed.Get(args.batch * count * padded_k * dot.packed_element_bytes)};
    Pack(context, block);
    RunBlock(context, kernels, block);
  }
}

void LinearTransposedTiled(const Context& context, const CpuKernels& kernels,
                           const LinearTransposedArgs& args) {
  thread_local Scratch scratch;
  constexpr int64_t kLanes = 256;  // of a chunk: whole vectors, half a KiB of every weight row
  const auto kernel = kernels.transposed[static_cast<int>(args.w.dtype)];
  const int64_t element_bytes = static_cast<int64_t>(SizeOf(args.w.dtype));
  const int64_t chunks = CeilDiv(args.w.cols, kLanes);
  for (int64_t token = 0; token < args.x.rows; token += kTokenBlock) {
    const int64_t count = std::min(kTokenBlock, args.x.rows - token);
    float* rounded = scratch.GetArray<float>(args.batch * count * args.x.cols);
    RoundTokens(context, args, token, count, rounded);
    const auto run = [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / chunks;
        const int64_t lane = i % chunks * kLanes;
        TransposedPanel panel;
        panel.x = rounded + b * count * args.x.cols;
        panel.x_ld = args.x.cols;
        panel.num_tokens = count;
        panel.w =
            BatchWeights(args.w, b, args.w_batch_share, args.w_batch_stride) + lane * element_bytes;
        panel.w_ld = args.w.ld;
        panel.k = args.w.rows;
        panel.num_lanes = std::min(kLanes, args.w.cols - lane);
        panel.y = args.y.row(token) + b * args.y_batch_stride + lane;
        panel.y_ld = args.y.ld;
        kernel(panel);
      }
    };
    ParallelFor(context.pool, args.batch * chunks, 1, std::ref(run));
  }
}

}  // namespace latentd
