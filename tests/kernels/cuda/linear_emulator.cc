// MatrixLinear on the CPU: the same tiles, parts, ring stages, boxes, descriptors, fragments and
// folds as the kernel's, over the model of the hardware in hopper_model.h. Clusters, and the blocks
// of one, run in random order; roles take turns chunk by chunk (linear_protocol_test.cc is about
// the barriers). Memory is NaN until something is written to it.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/matrix_linear_params.h"
#include "tests/kernels/cuda/hopper_model.h"

namespace latentd::cuda {
namespace {

std::vector<int> Shuffled(int64_t count, std::mt19937& rng) {
  std::vector<int> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), rng);
  return order;
}

// One thread block until its sums are in shared memory.
class Block {
 public:
  Block(const MatrixProduct& product, const LinearParams& params, const LinearLayout& layout,
        const LinearTile& tile)
      : product_(product),
        params_(params),
        layout_(layout),
        tile_(tile),
        shared_(static_cast<size_t>(layout.Bytes()), std::byte{0xff}) {}

  void SumParts(int rank) {
    const PartRange parts = PartsOfBlock(params_, rank), chunks = ChunksOfBlock(params_, rank);
    const auto size = static_cast<size_t>(kTileRows) * static_cast<size_t>(layout_.tokens);
    std::vector<std::vector<float>> totals(static_cast<size_t>(layout_.groups));
    uint32_t n = 0;
    for (int part = parts.first; part < parts.end; ++part) {
      std::vector<std::vector<float>> sums(totals.size(), std::vector<float>(size));
      const int all = NumLaneChunks(params_.k);
      const int length =
          PartBegin(all, params_.parts, part + 1) - PartBegin(all, params_.parts, part);
      for (int chunk = 0; chunk < length; ++chunk, ++n) {
        const int stage = PlaceInRing(n, layout_.num_stages).stage;
        FillStage(stage, chunks.first + static_cast<int>(n));
        for (int group = 0; group < layout_.groups; ++group) {
          Multiply(stage, group, sums[static_cast<size_t>(group)]);
        }
      }
      for (size_t group = 0; group < totals.size(); ++group) {
        if (part == parts.first) {
          totals[group] = sums[group];
        } else {
          for (size_t i = 0; i < size; ++i) totals[group][i] += sums[group][i];
        }
      }
    }
    StoreSums(totals);
  }

  float Sum(int token, int row) const {
    float sum;
    std::memcpy(&sum, &shared_[static_cast<size_t>(layout_.Sum(token, row))], sizeof sum);
    return sum;
  }

 private:
  void FillStage(int stage, int chunk) {
    const TensorBox box = WeightBox(product_.args);
    const uint64_t bytes = (box.size[2] - 1) * box.stride_bytes[1] +
                           (box.size[1] - 1) * box.stride_bytes[0] + 2 * box.size[0];
    for (int group = 0; group < layout_.groups; ++group) {
      const BoxPlace at =
          WeightPlace(product_.transposed, tile_.first_row + group * kTileRows, chunk);
      ModelTmaLoad({static_cast<const std::byte*>(product_.args.w.data), bytes}, box,
                   {at.lane, at.row, tile_.batch / params_.w_batch_share}, shared_,
                   static_cast<uint32_t>(layout_.Weights(stage, group)));
    }
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < NumTokenPieces(layout_.tokens); ++i) {
        const TokenPiece piece = TokenPieceOf(lane, i);
        const int k = chunk * kChunkLanes + piece.lane;
        const FourLanes four = WholeChunk(params_, chunk)
                                   ? LoadFour<true>(params_, tile_, piece.token, k)
                                   : LoadFour<false>(params_, tile_, piece.token, k);
        const uint32_t to =
            static_cast<uint32_t>(layout_.Tokens(stage)) + ChunkByte(piece.token, piece.lane);
        for (size_t j = 0; j < 4; ++j) {
          const bf16 value = ToBf16(four.at[j]);
          std::memcpy(&shared_[to + j * sizeof value], &value, sizeof value);
        }
      }
    }
  }

  void Multiply(int stage, int group, std::vector<float>& sums) const {
    const auto weights = static_cast<uint32_t>(layout_.Weights(stage, group));
    const uint64_t tokens = DescriptorAlongLanes(static_cast<uint32_t>(layout_.Tokens(stage)));
    for (int step = 0; step < kStepsPerChunk; ++step) {
      ModelWgmma(shared_, WeightDescriptor(product_.transposed, weights, step),
                 Advance(tokens, step * kStepBytesAlongLanes), Major::kDepth, layout_.tokens, sums,
                 product_.transposed ? Major::kOther : Major::kDepth);
    }
  }

  void StoreSums(const std::vector<std::vector<float>>& totals) {
    std::fill(shared_.begin(), shared_.end(), std::byte{0xff});
    for (int group = 0; group < layout_.groups; ++group) {
      for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
        for (int i = 0; i < layout_.tokens / 2; ++i) {
          const int row = group * kTileRows + FragmentRow(thread, i);
          const int place = thread * layout_.tokens / 2 + i;
          const float sum = totals[static_cast<size_t>(group)][static_cast<size_t>(place)];
          const int to = layout_.Sum(FragmentColumn(thread, i), row);
          std::memcpy(&shared_[static_cast<size_t>(to)], &sum, sizeof sum);
        }
      }
    }
  }

  const MatrixProduct& product_;
  const LinearParams& params_;
  const LinearLayout& layout_;
  const LinearTile& tile_;
  std::vector<std::byte> shared_;
};

void WriteOutputs(const LinearParams& params, const LinearLayout& layout, const LinearTile& tile,
                  const std::vector<Block>& blocks, int rank) {
  const int threads = layout.Threads();
  for (int thread = 0; thread < threads; ++thread) {
    for (int i = rank * threads + thread; i < tile.num_tokens * layout.Rows();
         i += params.cluster * threads) {
      const int token = i / layout.Rows(), row = i % layout.Rows();
      const int column = tile.first_row + row;
      if (column >= params.n) continue;
      float sum = blocks[0].Sum(token, row);
      for (size_t part = 1; part < blocks.size(); ++part) sum += blocks[part].Sum(token, row);
      *OutputOf(params, tile, token, column) =
          params.bias == nullptr ? sum : sum + params.bias[column];
    }
  }
}

}  // namespace

void MatrixLinear(CUstream_st*, const MatrixProduct& product, const LinearPlan& plan) {
  static std::mt19937 rng(2);
  CheckMatrixLinear(product, plan);
  const LinearParams params = LinearParamsOf(product, plan);
  const LinearLayout layout(plan.tile_tokens);
  for (const int number : Shuffled(NumTiles(params), rng)) {
    const LinearTile tile = LinearTileOf(params, layout, number);
    std::vector<Block> blocks(static_cast<size_t>(params.cluster),
                              Block(product, params, layout, tile));
    for (const int rank : Shuffled(params.cluster, rng)) {
      blocks[static_cast<size_t>(rank)].SumParts(rank);
    }
    for (const int rank : Shuffled(params.cluster, rng)) {
      WriteOutputs(params, layout, tile, blocks, rank);
    }
  }
}

}  // namespace latentd::cuda
