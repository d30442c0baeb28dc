// A thread block of mla_decode.cu on the CPU, tile by tile.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/decode_layout.h"
#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/partial_softmax.h"
#include "tests/kernels/cuda/fragment.h"

namespace latentd::cuda {

// What each row of a tile knows (its four lanes agree).
struct RowSums {
  float largest = kNoScore;
  float sum[4] = {};  // of the unit, by lane
  float group_largest = kNoScore;
  float group_sum = 0;
};

// Borrows what it is given.
class DecodeBlock {
 public:
  DecodeBlock(const MlaDecodeArgs& args, const DecodeParams& params);
  int num_stages() const { return layout_.num_stages; }

  // The block's n-th tile: the share of block `rank`, this one, into the rings of all.
  void CopyTile(const DecodeItem& item, int tile, uint32_t n, uint32_t rank,
                std::span<DecodeBlock> blocks) const;
  // The same tile once all of it has come: scores, sums, and what ends a unit or an item with it.
  void RunTile(const DecodeItem& item, int tile, uint32_t n);

 private:
  int64_t RowWidth() const { return args_.row_latent + args_.rope_dim; }
  uint32_t Granule(const DecodeItem& item, int token) const {
    return args_.block_tables[item.sequence * args_.block_table_ld + token / kTileRows];
  }

  void LoadQueries(const DecodeItem& item);
  // Slots past the end become zeros.
  void ZeroSlots(int first_slot, int stage);
  void MultiplyScores(int first_chunk, int num_chunks, int stage);
  void MultiplyAlphas(const DecodeItem& item, int first_token);
  void MaskScores(const DecodeItem& item, int first_token);
  // The softmax step of every row; P goes where wgmma finds it. Returns the corrections.
  std::array<float, kTileRows> WriteWeights();
  void MultiplyValues(int warpgroup, int stage, const std::array<float, kTileRows>& correction);
  void MultiplyTile(const DecodeItem& item, int first_token, int stage);
  // What does not come again shows as NaN.
  void EmptyStage(int stage);
  void WriteStats(const DecodeItem& item);
  void EndUnit(const DecodeItem& item, bool first);

  const MlaDecodeArgs& args_;
  const DecodeParams& params_;
  DecodeLayout layout_;
  int chunks_;
  std::vector<std::byte> shared_;
  std::vector<int> stage_bytes_;  // that have come for the tile of each stage
  Fragment scores_;
  std::vector<Fragment> output_;
  std::array<RowSums, kTileRows> rows_;
};

}  // namespace latentd::cuda
