#include "kernels/cpu/linear_int8.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/core/rounding.h"
#include "kernels/core/rows.h"
#include "kernels/core/scratch.h"
#include "kernels/quantise.h"

namespace latentd {
namespace {

// Tokens that are packed at a time, as in linear_tiled.cc.
constexpr int64_t kTokenBlock = 192;
// Weights that a thread takes at a time, unless one tile's rows are more.
constexpr int64_t kChunkBytes = 128 * 1024;

// Tokens of a tile: as few tiles as possible, then tiles as equal as possible.
int64_t TileTokens(int64_t count, int64_t most) { return CeilDiv(count, CeilDiv(count, most)); }

void RunTokens(const Context& context, const Int8Kernels& kernels, const LinearArgs& args,
               int64_t first_token, int64_t count) {
  thread_local Scratch scratch;
  const BlockFormat& format = FormatOf(args.w.dtype);
  const int64_t groups = format.Groups(args.w.cols);
  const int64_t tile = TileTokens(count, kernels.tokens_per_tile);
  std::byte* const packed = scratch.Get(count * groups * kernels.token_bytes);
  ForEachRow(context, CeilDiv(count, tile), tile * args.x.cols, [&](int64_t i) {
    kernels.pack(args.x.row(first_token + i * tile), args.x.ld, std::min(tile, count - i * tile),
                 args.x.cols, packed + i * tile * groups * kernels.token_bytes);
  });

  const int64_t skipped = args.w.scales.first_row % kBlockRows;
  const int64_t row_block_bytes = std::max<int64_t>(1, groups * format.block_bytes());
  const int64_t row_tiles = kChunkBytes / row_block_bytes / kernels.row_blocks_per_tile;
  const int64_t blocks = std::max<int64_t>(1, row_tiles) * kernels.row_blocks_per_tile;
  const int64_t all_blocks = CeilDiv(skipped + args.w.rows, kBlockRows);
  const auto run = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      // Counted from the view's first row: only the first chunk may begin inside a block.
      const int64_t row = std::max<int64_t>(0, i * blocks * kBlockRows - skipped);
      const int64_t end_row = std::min(args.w.rows, (i + 1) * blocks * kBlockRows - skipped);
      Int8Panel panel;
      panel.w = BlockOf(args.w, row, 0);
      panel.blocks_per_row = format.Groups(args.w.ld);
      panel.num_groups = groups;
      panel.skipped_rows = i == 0 ? skipped : 0;
      panel.num_rows = end_row - row;
      panel.x = packed;
      panel.num_tokens = count;
      panel.tile_tokens = tile;
      panel.y = args.y.row(first_token) + row;
      panel.y_ld = args.y.ld;
      panel.bias = args.bias != nullptr ? args.bias + row : nullptr;
      kernels.run(panel);
    }
  };
  ParallelFor(context.pool, CeilDiv(all_blocks, blocks), 1, std::ref(run));
}

}  // namespace

void LinearInt8(const Context& context, const Int8Kernels& kernels, const LinearArgs& args) {
  for (int64_t token = 0; token < args.x.rows; token += kTokenBlock) {
    RunTokens(context, kernels, args, token, std::min(kTokenBlock, args.x.rows - token));
  }
}

void LinearInt8Scalar(const Context& context, const LinearArgs& args) {
  thread_local Scratch scratch;
  const BlockFormat& format = FormatOf(args.w.dtype);
  const int64_t cols = args.w.cols, groups = format.Groups(cols), all = args.x.rows * groups;
  auto* const scales = scratch.GetArray<float>(all + all * format.group / 4);
  auto* const q = reinterpret_cast<int8_t*>(scales + all);
  for (int64_t i = 0; i < all; ++i) {
    const int64_t first = i % groups * format.group;
    scales[i] = QuantiseGroup(args.x.row(i / groups) + first, std::min(format.group, cols - first),
                              q + i * format.group);
  }
  ForEachRow(context, args.w.rows, args.x.rows * args.x.cols, [&](int64_t n) {
    const int64_t lane = (args.w.scales.first_row + n) % kBlockRows;
    for (int64_t m = 0; m < args.x.rows; ++m) {
      float sum = 0;
      for (int64_t g = 0; g < groups; ++g) {
        const std::byte* block = BlockOf(args.w, n, g);
        const int64_t i = m * groups + g, count = std::min(format.group, cols - g * format.group);
        int32_t product = 0;
        for (int64_t k = 0; k < count; ++k) {
          product += BlockNumber(format, block, lane, k) * q[i * format.group + k];
        }
        const float scale = BlockScale(format, block, lane) * scales[i];
        sum = std::fma(scale, static_cast<float>(product), sum);
      }
      args.y.row(m)[n] = args.bias != nullptr ? sum + args.bias[n] : sum;
    }
  });
}

}  // namespace latentd
