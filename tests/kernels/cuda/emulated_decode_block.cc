#include "tests/kernels/cuda/emulated_decode_block.h"

#include <cmath>
#include <cstring>

#include "kernels/cuda/decode_protocol.h"
#include "tests/kernels/cuda/hopper_model.h"

namespace latentd::cuda {
namespace {

constexpr int kThreads = 128;  // of a warpgroup
constexpr int kScoreRegisters = kTileRows / 2;

}  // namespace

DecodeBlock::DecodeBlock(const MlaDecodeArgs& args, const DecodeParams& params)
    : args_(args),
      params_(params),
      layout_(args.row_latent / kChunkLanes),
      chunks_(layout_.latent_chunks + (params.has_rope ? 1 : 0)),
      shared_(kSharedBytes, std::byte{0xff}),
      stage_bytes_(static_cast<size_t>(layout_.num_stages)),
      scores_(kTileRows) {
  for (int w = 0; w < 2; ++w) output_.emplace_back(layout_.NumChunks(w) * kChunkLanes);
}

void DecodeBlock::CopyTile(const DecodeItem& item, int tile, uint32_t n, uint32_t rank,
                           std::span<DecodeBlock> blocks) const {
  const std::span rows(args_.pool + args_.layer.rows,
                       static_cast<size_t>(args_.pool_bytes - args_.layer.rows));
  const TensorBox box =
      LatentBox(RowWidth(), args_.layer.row_bytes, NumBlockStarts(args_.pool_bytes, args_.layer));
  const int64_t granule = Granule(item, item.first_token + tile * kTileRows);
  const int stage = PlaceInRing(n, layout_.num_stages).stage;
  const auto cluster = static_cast<int>(blocks.size());
  std::vector<std::span<std::byte>> shared;
  for (DecodeBlock& block : blocks) shared.push_back(block.shared_);
  for (int chunk = FirstChunkCopied(rank, n, cluster); chunk < chunks_; chunk += cluster) {
    ModelTmaMulticast(rows, box, {chunk * kChunkLanes, 0, granule}, shared, (1u << cluster) - 1,
                      static_cast<uint32_t>(layout_.Stage(stage, chunk)));
    for (DecodeBlock& block : blocks) block.stage_bytes_[static_cast<size_t>(stage)] += kChunkBytes;
  }
}

void DecodeBlock::RunTile(const DecodeItem& item, int tile, uint32_t n) {
  const int num_tiles = NumTiles(item);
  if (tile == 0) {
    LoadQueries(item);
    std::fill(rows_.begin(), rows_.end(), RowSums());
  }
  if (tile % kTilesPerUnit == 0) {
    for (Fragment& output : output_) output.Clear();
  }
  const int stage = PlaceInRing(n, layout_.num_stages).stage;
  MultiplyTile(item, item.first_token + tile * kTileRows, stage);
  EmptyStage(stage);
  if ((tile + 1) % kTilesPerUnit == 0 || tile + 1 == num_tiles) {
    EndUnit(item, tile < kTilesPerUnit);
  }
  if (tile + 1 == num_tiles) WriteStats(item);
}

void DecodeBlock::LoadQueries(const DecodeItem& item) {
  const int64_t row_bytes = args_.q_ld * static_cast<int64_t>(sizeof(bf16));
  const std::span q(reinterpret_cast<const std::byte*>(args_.q),
                    static_cast<size_t>(args_.q_rows * row_bytes));
  for (int chunk = 0; chunk < chunks_; ++chunk) {
    ModelTmaLoad(q, QueryBox(RowWidth(), args_.q_rows, row_bytes),
                 {chunk * kChunkLanes, item.q_row, 0}, shared_,
                 static_cast<uint32_t>(layout_.Queries(chunk)));
  }
}

void DecodeBlock::ZeroSlots(int first_slot, int stage) {
  for (int chunk = 0; chunk < chunks_ && first_slot < kTileRows; ++chunk) {
    const int to = layout_.Stage(stage, chunk) + first_slot * kChunkRowBytes;
    std::memset(&shared_[static_cast<size_t>(to)], 0,
                static_cast<size_t>((kTileRows - first_slot) * kChunkRowBytes));
  }
}

void DecodeBlock::MultiplyScores(int first_chunk, int num_chunks, int stage) {
  const uint64_t a = DescriptorAlongLanes(static_cast<uint32_t>(layout_.Queries(first_chunk)));
  const uint64_t b = DescriptorAlongLanes(static_cast<uint32_t>(layout_.Stage(stage, first_chunk)));
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    for (int step = 0; step < kStepsPerChunk; ++step) {
      const int bytes = chunk * kChunkBytes + step * kStepBytesAlongLanes;
      ModelWgmma(shared_, Advance(a, bytes), Advance(b, bytes), Major::kDepth, kTileRows,
                 scores_.values());
    }
  }
}

void DecodeBlock::MultiplyAlphas(const DecodeItem& item, int first_token) {
  const auto* alphas = reinterpret_cast<const float*>(
      params_.alphas + static_cast<int64_t>(Granule(item, first_token)) * kGranuleBytes);
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < kScoreRegisters; ++i) {
      const int slot = FragmentColumn(thread, i);
      if (first_token + slot >= item.end_token) continue;
      const int group = KvGroupOfRow(item.first_row + FragmentRow(thread, i), params_.num_heads,
                                     params_.num_kv_groups);
      scores_(thread, i) *= alphas[slot * params_.num_kv_groups + group];
    }
  }
}

void DecodeBlock::MaskScores(const DecodeItem& item, int first_token) {
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < kScoreRegisters; ++i) {
      const int row = FragmentRow(thread, i);
      const int visible =
          row < item.num_rows
              ? VisibleTokens(item.first_position, item.first_row + row, params_.num_heads)
              : 0;
      const bool seen = first_token + FragmentColumn(thread, i) < visible;
      scores_(thread, i) = seen ? params_.scale_log2 * scores_(thread, i) : kNoScore;
    }
  }
}

std::array<float, kTileRows> DecodeBlock::WriteWeights() {
  std::array<float, kTileRows> tile_largest, correction, shift;
  tile_largest.fill(kNoScore);
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < kScoreRegisters; ++i) {
      float& largest = tile_largest[static_cast<size_t>(FragmentRow(thread, i))];
      largest = std::max(largest, scores_(thread, i));
    }
  }
  for (size_t row = 0; row < kTileRows; ++row) {
    const TileStep step = StepTile(rows_[row].largest, tile_largest[row]);
    rows_[row].largest = step.largest;
    correction[row] = step.correction;
    shift[row] = step.shift;
  }
  for (int thread = 0; thread < kThreads; ++thread) {
    float added[2] = {0, 0};
    for (int i = 0; i < kScoreRegisters; ++i) {
      const int row = FragmentRow(thread, i);
      const bf16 p = ToBf16(Exp2(scores_(thread, i) - shift[static_cast<size_t>(row)]));
      added[i / 2 % 2] += ToFloat(p);
      const uint32_t to = static_cast<uint32_t>(layout_.Probabilities()) +
                          ChunkByte(row, FragmentColumn(thread, i));
      std::memcpy(&shared_[to], &p, sizeof p);
    }
    for (int half = 0; half < 2; ++half) {
      const auto row = static_cast<size_t>(FragmentRow(thread, 2 * half));
      float& sum = rows_[row].sum[thread % 4];
      sum = fmaf(sum, correction[row], added[half]);
    }
  }
  return correction;
}

void DecodeBlock::MultiplyValues(int warpgroup, int stage,
                                 const std::array<float, kTileRows>& correction) {
  Fragment& output = output_[static_cast<size_t>(warpgroup)];
  if (output.num_columns() == 0) return;
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int i = 0; i < output.num_registers(); ++i) {
      output(thread, i) *= correction[static_cast<size_t>(FragmentRow(thread, i))];
    }
  }
  const uint64_t a = DescriptorAlongLanes(static_cast<uint32_t>(layout_.Probabilities()));
  const uint64_t b = DescriptorAlongRows(
      static_cast<uint32_t>(layout_.Stage(stage, layout_.FirstChunk(warpgroup))));
  for (int step = 0; step < kStepsPerChunk; ++step) {
    ModelWgmma(shared_, Advance(a, step * kStepBytesAlongLanes),
               Advance(b, step * kStepBytesAlongRows), Major::kOther, output.num_columns(),
               output.values());
  }
}

void DecodeBlock::MultiplyTile(const DecodeItem& item, int first_token, int stage) {
  LATENTD_CHECK(stage_bytes_[static_cast<size_t>(stage)] == chunks_ * kChunkBytes);
  ZeroSlots(item.end_token - first_token, stage);
  scores_.Clear();
  MultiplyScores(0, layout_.latent_chunks, stage);
  if (params_.key_norm == KeyNorm::kBlockwise) MultiplyAlphas(item, first_token);
  if (params_.has_rope) MultiplyScores(layout_.latent_chunks, 1, stage);
  if (params_.key_norm == KeyNorm::kUnified) MultiplyAlphas(item, first_token);
  MaskScores(item, first_token);
  const std::array<float, kTileRows> correction = WriteWeights();
  for (int w = 0; w < 2; ++w) MultiplyValues(w, stage, correction);
}

void DecodeBlock::EmptyStage(int stage) {
  std::fill_n(&shared_[static_cast<size_t>(layout_.Stage(stage, 0))], chunks_ * kChunkBytes,
              std::byte{0xff});
  stage_bytes_[static_cast<size_t>(stage)] = 0;
}

void DecodeBlock::WriteStats(const DecodeItem& item) {
  for (int row = 0; row < item.num_rows; ++row) {
    float* stats = SlotRow(params_, item, row, args_.row_latent) + args_.row_latent;
    stats[0] = rows_[static_cast<size_t>(row)].group_largest;
    stats[1] = rows_[static_cast<size_t>(row)].group_sum;
  }
}

void DecodeBlock::EndUnit(const DecodeItem& item, bool first) {
  std::array<FoldWeights, kTileRows> weights;
  for (size_t row = 0; row < kTileRows; ++row) {
    RowSums& sums = rows_[row];
    weights[row] = WeighFold(sums.group_largest, sums.largest);
    sums.group_largest = weights[row].largest;
    const float sum = (sums.sum[0] + sums.sum[1]) + (sums.sum[2] + sums.sum[3]);
    sums.group_sum = Fold(weights[row], sums.group_sum, sum);
    sums.largest = kNoScore;
    std::fill_n(sums.sum, 4, 0.0f);
  }
  for (int w = 0; w < 2; ++w) {
    Fragment& output = output_[static_cast<size_t>(w)];
    for (int thread = 0; thread < kThreads; ++thread) {
      for (int i = 0; i < output.num_registers(); ++i) {
        const int row = FragmentRow(thread, i);
        if (row >= item.num_rows) continue;
        float& place = SlotRow(
            params_, item, row,
            args_.row_latent)[layout_.FirstChunk(w) * kChunkLanes + FragmentColumn(thread, i)];
        const float earlier = first ? 0 : place;
        place = Fold(weights[static_cast<size_t>(row)], earlier, output(thread, i));
      }
    }
  }
}

}  // namespace latentd::cuda
