// The dot tile of matrix registers: up to 64 weight rows against up to 16 tokens. Included by
// amx.cc and, with the instruction written out, by its test; internal linkage, as dot_tile.h.
//
// The sum of an output, a block of K (table.h) after the other, each folded left onto y. Within a
// block, steps of 32 elements: a step's even elements are summed in ascending order from zero by
// fused multiply-adds, its odd ones likewise, the two sums are added, and that is added to the
// block's sum. Denormals count as zero. That is what the instruction does for each output, whatever
// the numbers of rows and tokens that its registers are configured to, so one row takes the same
// order as sixteen.
//
// Tiles supplies, over eight registers of 16 rows of 64 bytes each, of one thread:
//   Configure(weight_rows, tokens)   0–3: [weight_rows, tokens] fp32, 4–5: [weight_rows, 32] bf16,
//                                    6: [16, tokens] pairs of bf16; forgets what they held
//   Release()
//   Zero<kTile>(), Load<kTile>(from, row_bytes), Store<kTile>(to, row_bytes)
//   MultiplyAdd<kSum, kWeights, kTokens>()
//   Round(const float*, uint16_t*)   32 elements to bf16
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/table.h"

namespace latentd {
namespace {

constexpr int64_t kAmxStep = 32;    // elements of K
constexpr int64_t kAmxRows = 16;    // weight rows of a register
constexpr int64_t kAmxTokens = 16;  // tokens of one
constexpr int64_t kAmxChunkRows = 4 * kAmxRows;

// A step is [16, count] pairs: pair j of token t holds its elements 2j and 2j + 1.
template <class Tiles>
void PackAmx(const float* x, int64_t ld, int64_t count, int64_t k, void* tile) {
  auto* to = static_cast<uint16_t*>(tile);
  for (int64_t k0 = 0; k0 < k; k0 += kAmxStep, to += kAmxStep * count) {
    for (int64_t t = 0; t < count; ++t) {
      float step[kAmxStep] = {};
      const int64_t size = k - k0 < kAmxStep ? k - k0 : kAmxStep;
      for (int64_t i = 0; i < size; ++i) step[i] = x[t * ld + k0 + i];
      uint16_t rounded[kAmxStep];
      Tiles::Round(step, rounded);
      for (int64_t i = 0; i < kAmxStep; ++i) to[(i / 2 * count + t) * 2 + i % 2] = rounded[i];
    }
  }
}

// Weight rows of a few registers against one packed tile of tokens, one block of K.
struct AmxBlock {
  const uint16_t* w;
  int64_t w_ld, num_rows;  // fewer than the registers hold only when there is one
  const uint16_t* x;
  int64_t num_tokens, k;
  bool is_first;
  float* y;
  int64_t y_ld;
};

template <class Tiles, int... kSum>
void RunAmxBlock(const AmxBlock& block, std::integer_sequence<int, kSum...>) {
  constexpr int64_t kRows = sizeof...(kSum) * kAmxRows;
  (Tiles::template Zero<kSum>(), ...);
  // Weights alternate between two registers: one is loaded while the other multiplies.
  const auto step = [&](const uint16_t* w, int64_t w_ld, int64_t k) {
    Tiles::template Load<6>(block.x + k * block.num_tokens, block.num_tokens * 4);
    ((Tiles::template Load<4 + kSum % 2>(w + kSum * kAmxRows * w_ld, w_ld * 2),
      Tiles::template MultiplyAdd<kSum, 4 + kSum % 2, 6>()),
     ...);
  };
  const int64_t full = block.k / kAmxStep * kAmxStep;
  for (int64_t i = 0; i < full; i += kAmxStep) step(block.w + i, block.w_ld, i);
  if (full < block.k) {  // copied beside zeros: a load past a row's end could leave the mapping
    uint16_t padded[kRows * kAmxStep] = {};
    for (int64_t r = 0; r < block.num_rows; ++r) {
      for (int64_t i = full; i < block.k; ++i) {
        padded[r * kAmxStep + i - full] = block.w[r * block.w_ld + i];
      }
    }
    step(padded, kAmxStep, full);
  }
  float sums[kRows * kAmxTokens];
  (Tiles::template Store<kSum>(sums + kSum * kAmxRows * kAmxTokens, kAmxTokens * 4), ...);
  for (int64_t t = 0; t < block.num_tokens; ++t) {
    for (int64_t r = 0; r < block.num_rows; ++r) {
      float& y = block.y[t * block.y_ld + r];
      const float sum = sums[r * kAmxTokens + t];
      y = block.is_first ? sum : y + sum;
    }
  }
}

// Every weight row of the panel against one packed tile of tokens, one block of K.
template <class Tiles>
void RunAmxTokens(AmxBlock block, int64_t num_rows) {
  using Four = std::integer_sequence<int, 0, 1, 2, 3>;
  using One = std::integer_sequence<int, 0>;
  const auto run = [&](auto registers, int64_t rows) {
    block.num_rows = rows;
    RunAmxBlock<Tiles>(block, registers);
    block.w += rows * block.w_ld;
    block.y += rows;
    num_rows -= rows;
  };
  Tiles::Configure(kAmxRows, block.num_tokens);
  while (num_rows >= kAmxChunkRows) run(Four(), kAmxChunkRows);
  while (num_rows >= kAmxRows) run(One(), kAmxRows);
  if (num_rows == 0) return;
  Tiles::Configure(num_rows, block.num_tokens);
  run(One(), num_rows);
}

template <class Tiles>
void RunAmxPanel(const DotPanel& panel) {
  const int64_t padded_k = (panel.k + kPackAlign - 1) / kPackAlign * kPackAlign;
  const TokenTiles tiles = {panel.num_tokens, kAmxTokens};
  for (int64_t k0 = 0; k0 < panel.k || k0 == 0; k0 += kDotBlock) {
    const int64_t k = panel.k - k0 < kDotBlock ? panel.k - k0 : kDotBlock;
    for (int64_t i = 0; i < tiles.Count(); ++i) {
      const int64_t t = tiles.First(i), tokens = tiles.First(i + 1) - t;
      RunAmxTokens<Tiles>({static_cast<const uint16_t*>(panel.w) + k0, panel.w_ld, 0,
                           static_cast<const uint16_t*>(panel.x) + t * padded_k + k0 * tokens,
                           tokens, k, k0 == 0, panel.y + t * panel.y_ld, panel.y_ld},
                          panel.num_rows);
    }
  }
  Tiles::Release();
  if (panel.bias == nullptr) return;
  for (int64_t t = 0; t < panel.num_tokens; ++t) {
    for (int64_t n = 0; n < panel.num_rows; ++n) panel.y[t * panel.y_ld + n] += panel.bias[n];
  }
}

template <class Tiles>
constexpr DotKernels AmxDotKernels() {
  static_assert(kDotBlock % kAmxStep == 0 && kPackAlign % kAmxStep == 0);
  return {kAmxTokens, PackAmx<Tiles>, sizeof(uint16_t), RunAmxPanel<Tiles>, kAmxChunkRows};
}

}  // namespace
}  // namespace latentd
