#include "tests/kernels/cuda/decode_emulator.h"

#include <algorithm>
#include <random>
#include <span>
#include <vector>

#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/item_walk.h"
#include "kernels/cuda/partial_softmax.h"
#include "tests/kernels/cuda/emulated_decode_block.h"
#include "tests/kernels/cuda/swapped_emulator.h"

namespace latentd::cuda {
namespace {

// A tile of an item, in the order in which a thread block walks.
struct WalkStep {
  DecodeItem item;
  int tile;
};

std::vector<WalkStep> WalkOf(const MlaDecodeArgs& args, const DecodeParams& params, int cta) {
  std::vector<WalkStep> walk;
  ForEachItem(params, cta, args.plan->num_ctas, [&](const DecodeItem& item) {
    for (int tile = 0; tile < NumTiles(item); ++tile) walk.push_back({item, tile});
  });
  return walk;
}

// The blocks of a cluster from `first_cta` on. Each copies ahead as long as the stage is empty in
// all of them, and multiplies what all have copied.
void RunCluster(const MlaDecodeArgs& args, const DecodeParams& params, int first_cta,
                std::mt19937& rng) {
  const auto cluster = static_cast<size_t>(args.plan->cluster);
  std::vector<DecodeBlock> blocks(cluster, DecodeBlock(args, params));
  std::vector<std::vector<WalkStep>> walks;
  for (size_t i = 0; i < cluster; ++i) {
    walks.push_back(WalkOf(args, params, first_cta + static_cast<int>(i)));
  }
  std::vector<size_t> copied(cluster), multiplied(cluster);
  while (true) {
    const size_t all_copied = *std::min_element(copied.begin(), copied.end());
    const size_t room = *std::min_element(multiplied.begin(), multiplied.end()) +
                        static_cast<size_t>(blocks[0].num_stages());
    std::vector<size_t> able;  // block i may copy: 2i; may multiply: 2i + 1
    for (size_t i = 0; i < cluster; ++i) {
      if (copied[i] < std::min(room, walks[i].size())) able.push_back(2 * i);
      if (multiplied[i] < std::min(all_copied, walks[i].size())) able.push_back(2 * i + 1);
    }
    if (able.empty()) break;
    const size_t next = able[std::uniform_int_distribution<size_t>(0, able.size() - 1)(rng)];
    const size_t rank = next / 2;
    size_t& n = next % 2 == 0 ? copied[rank] : multiplied[rank];
    const auto& [item, tile] = walks[rank][n];
    const auto number = static_cast<uint32_t>(n++);
    if (next % 2 == 0) {
      blocks[rank].CopyTile(item, tile, number, static_cast<uint32_t>(rank), blocks);
    } else {
      blocks[rank].RunTile(item, tile, number);
    }
  }
  for (size_t i = 0; i < cluster; ++i) LATENTD_CHECK(multiplied[i] == walks[i].size());
}

struct Partial {
  explicit Partial(int lanes) : values(static_cast<size_t>(lanes)) {}
  float largest = kNoScore;
  float sum = 0;
  std::vector<float> values;
};

void FoldInto(Partial& earlier, const Partial& later) {
  const FoldWeights weights = WeighFold(earlier.largest, later.largest);
  earlier.largest = weights.largest;
  earlier.sum = Fold(weights, earlier.sum, later.sum);
  for (size_t j = 0; j < earlier.values.size(); ++j) {
    earlier.values[j] = Fold(weights, earlier.values[j], later.values[j]);
  }
}

void CombineRow(const CombineParams& params, const DecodeRowTile& tile, int row) {
  Partial total(params.row_latent), group(params.row_latent), part(params.row_latent);
  for (int i = 0; i < tile.num_slots; ++i) {
    const int64_t slot_row = static_cast<int64_t>(tile.first_slot + i) * params.slot_rows + row;
    const float* values = params.partials + slot_row * SlotRowFloats(params.row_latent);
    part.largest = values[params.row_latent];
    part.sum = values[params.row_latent + 1];
    std::copy_n(values, params.row_latent, part.values.begin());
    FoldInto(group, part);
    if ((i + 1) % params.slots_per_group == 0 || i + 1 == tile.num_slots) {
      FoldInto(total, group);
      group = Partial(params.row_latent);
    }
  }
  float* out = params.out + static_cast<int64_t>(tile.q_row + row) * params.row_latent;
  for (int j = 0; j < params.row_latent; ++j)
    out[j] = total.values[static_cast<size_t>(j)] / total.sum;
}

void EmulateItems(const MlaDecodeArgs& args, const DecodeParams& params) {
  static std::mt19937 rng(3);
  for (int cta = 0; cta < args.plan->num_ctas; cta += args.plan->cluster) {
    RunCluster(args, params, cta, rng);
  }
}

}  // namespace

void EmulateMlaDecode(const MlaDecodeArgs& args) {
  const DecodeParams params = DecodeParamsOf(args);
  const int columns = ColumnsOf(args);
  if (columns == 0) {
    EmulateItems(args, params);
  } else {
    EmulateSwappedItems(args, params, columns);
  }
  const CombineParams combine = CombineParamsOf(args);
  const std::span row_tiles(combine.row_tiles, args.plan->row_tiles.size());
  for (const DecodeRowTile& tile : row_tiles) {
    LATENTD_CHECK(tile.num_rows <= combine.slot_rows);
    for (int row = 0; row < tile.num_rows; ++row) CombineRow(combine, tile, row);
  }
}

}  // namespace latentd::cuda
