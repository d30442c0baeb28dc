#include "tests/kernels/cuda/swapped_emulator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "kernels/cuda/item_walk.h"
#include "kernels/cuda/partial_softmax.h"
#include "kernels/cuda/swapped_layout.h"
#include "tests/kernels/cuda/fragment.h"
#include "tests/kernels/cuda/hopper_model.h"

namespace latentd::cuda {
namespace {

constexpr int kLanesOfColumn = 8;  // of a warp

// What the kernel keeps of a column, in shared memory and in the registers of its thread.
struct Column {
  float sum[kWarpsOfGroup][kLanesOfColumn] = {};  // of the unit's weights: two tokens of each tile
  float largest = kNoScore;
  float group_largest = kNoScore;
  float group_sum = 0;
  TileStep step = {};
  FoldWeights fold = {};
  int visible = 0;
  int kv_group = 0;
};

// One thread block.
class SwappedModel {
 public:
  SwappedModel(const MlaDecodeArgs& args, const DecodeParams& params, int columns)
      : args_(args),
        params_(params),
        layout_(args.row_latent / kChunkLanes, columns),
        chunks_(layout_.latent_chunks + (params.has_rope ? 1 : 0)),
        shared_(kSharedBytes, std::byte{0xff}),
        scores_(columns),
        output_(static_cast<size_t>(layout_.latent_chunks), Fragment(columns)) {}

  void RunItem(const DecodeItem& item) {
    LoadQueries(item);
    SetRows(item);
    const int num_tiles = NumTiles(item);
    for (int unit = 0; unit < num_tiles; unit += kTilesPerUnit) {
      const int end = std::min(unit + kTilesPerUnit, num_tiles);
      for (Fragment& output : output_) output.Clear();
      for (int tile = unit; tile < end; ++tile) {
        RunTile(item, item.first_token + tile * kTileRows, tile + 1 == end);
        first_chunk_ += static_cast<uint32_t>(chunks_);
      }
      EndUnit(item, unit == 0);
    }
    for (int row = 0; row < item.num_rows; ++row) {
      float* stats = SlotRow(params_, item, row, args_.row_latent) + args_.row_latent;
      stats[0] = columns_[static_cast<size_t>(row)].group_largest;
      stats[1] = columns_[static_cast<size_t>(row)].group_sum;
    }
  }

 private:
  int64_t RowWidth() const { return args_.row_latent + args_.rope_dim; }
  uint32_t Granule(const DecodeItem& item, int token) const {
    return args_.block_tables[item.sequence * args_.block_table_ld + token / kTileRows];
  }
  uint32_t SlotOfChunk(int chunk) const {
    const uint32_t n = first_chunk_ + static_cast<uint32_t>(chunk);
    return static_cast<uint32_t>(layout_.Slot(PlaceInRing(n, layout_.num_slots).stage));
  }
  Column& ColumnOf(int thread, int i) {
    return columns_[static_cast<size_t>(FragmentColumn(thread, i))];
  }

  void LoadQueries(const DecodeItem& item) {
    const int64_t row_bytes = args_.q_ld * static_cast<int64_t>(sizeof(bf16));
    const std::span q(reinterpret_cast<const std::byte*>(args_.q),
                      static_cast<size_t>(args_.q_rows * row_bytes));
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      ModelTmaLoad(q, QueryBox(RowWidth(), args_.q_rows, row_bytes, layout_.columns),
                   {chunk * kChunkLanes, item.q_row, 0}, shared_,
                   static_cast<uint32_t>(layout_.Queries(chunk)));
    }
  }

  void SetRows(const DecodeItem& item) {
    columns_.assign(static_cast<size_t>(layout_.columns), {});
    for (int i = 0; i < layout_.columns; ++i) {
      Column& column = columns_[static_cast<size_t>(i)];
      const int row = item.first_row + i;
      column.kv_group = KvGroupOfRow(row, params_.num_heads, params_.num_kv_groups);
      if (i < item.num_rows)
        column.visible = VisibleTokens(item.first_position, row, params_.num_heads);
    }
  }

  void LoadTile(const DecodeItem& item, int first_token) {
    const std::span rows(args_.pool + args_.layer.rows,
                         static_cast<size_t>(args_.pool_bytes - args_.layer.rows));
    const TensorBox box =
        LatentBox(RowWidth(), args_.layer.row_bytes, NumBlockStarts(args_.pool_bytes, args_.layer));
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      ModelTmaLoad(rows, box, {chunk * kChunkLanes, 0, Granule(item, first_token)}, shared_,
                   SlotOfChunk(chunk));
    }
  }

  void ZeroSlots(int first_slot) {
    for (int chunk = 0; chunk < layout_.latent_chunks && first_slot < kTileRows; ++chunk) {
      const auto to = SlotOfChunk(chunk) + static_cast<uint32_t>(first_slot * kChunkRowBytes);
      std::memset(&shared_[to], 0, static_cast<size_t>((kTileRows - first_slot) * kChunkRowBytes));
    }
  }

  void AddScores(int chunk) {
    const uint64_t a = DescriptorAlongLanes(SlotOfChunk(chunk));
    const uint64_t b = DescriptorAlongLanes(static_cast<uint32_t>(layout_.Queries(chunk)));
    for (int step = 0; step < kStepsPerChunk; ++step) {
      const int bytes = step * kStepBytesAlongLanes;
      ModelWgmma(shared_, Advance(a, bytes), Advance(b, bytes), Major::kDepth, layout_.columns,
                 scores_.values());
    }
  }

  void MultiplyAlphas(const DecodeItem& item, int first_token) {
    const auto* alphas = reinterpret_cast<const float*>(
        params_.alphas + static_cast<int64_t>(Granule(item, first_token)) * kGranuleBytes);
    for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
      for (int i = 0; i < scores_.num_registers(); ++i) {
        const int slot = FragmentRow(thread, i);
        if (first_token + slot >= item.end_token) continue;
        scores_(thread, i) *= alphas[slot * params_.num_kv_groups + ColumnOf(thread, i).kv_group];
      }
    }
  }

  void MakeScores(const DecodeItem& item, int first_token) {
    scores_.Clear();
    for (int chunk = 0; chunk < layout_.latent_chunks; ++chunk) AddScores(chunk);
    if (params_.key_norm == KeyNorm::kBlockwise) MultiplyAlphas(item, first_token);
    if (params_.has_rope) AddScores(layout_.latent_chunks);
    if (params_.key_norm == KeyNorm::kUnified) MultiplyAlphas(item, first_token);
    for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
      for (int i = 0; i < scores_.num_registers(); ++i) {
        const bool seen = first_token + FragmentRow(thread, i) < ColumnOf(thread, i).visible;
        scores_(thread, i) = seen ? params_.scale_log2 * scores_(thread, i) : kNoScore;
      }
    }
  }

  void StepColumns(bool ends_unit) {
    std::vector<float> tile_largest(columns_.size(), kNoScore);
    for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
      for (int i = 0; i < scores_.num_registers(); ++i) {
        float& largest = tile_largest[static_cast<size_t>(FragmentColumn(thread, i))];
        largest = std::max(largest, scores_(thread, i));
      }
    }
    for (size_t i = 0; i < columns_.size(); ++i) {
      Column& column = columns_[i];
      column.step = StepTile(column.largest, tile_largest[i]);
      column.largest = column.step.largest;
      if (!ends_unit) continue;
      column.fold = WeighFold(column.group_largest, column.largest);
      column.group_largest = column.fold.largest;
      column.largest = kNoScore;
    }
  }

  // P goes where wgmma finds it.
  void WriteWeights() {
    for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
      for (int i = 0; i < scores_.num_registers(); i += i % 4 == 0 ? 1 : 3) {  // upper tokens
        Column& column = ColumnOf(thread, i);
        float added = 0;
        for (const int j : {i, i + 2}) {
          const bf16 p = ToBf16(Exp2(scores_(thread, j) - column.step.shift));
          added += ToFloat(p);
          const uint32_t to = static_cast<uint32_t>(layout_.Weights()) +
                              ChunkByte(FragmentColumn(thread, j), FragmentRow(thread, j));
          std::memcpy(&shared_[to], &p, sizeof p);
        }
        float& sum = column.sum[thread / 32][thread % 32 / 4];
        sum = fmaf(sum, column.step.correction, added);
      }
    }
  }

  void MultiplyValues() {
    const uint64_t b = DescriptorAlongLanes(static_cast<uint32_t>(layout_.Weights()));
    for (int chunk = 0; chunk < layout_.latent_chunks; ++chunk) {
      Fragment& output = output_[static_cast<size_t>(chunk)];
      for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
        for (int i = 0; i < output.num_registers(); ++i) {
          output(thread, i) *= ColumnOf(thread, i).step.correction;
        }
      }
      const uint64_t a = DescriptorAlongRows(SlotOfChunk(chunk));
      for (int step = 0; step < kStepsPerChunk; ++step) {
        ModelWgmma(shared_, Advance(a, step * kStepBytesAlongRows),
                   Advance(b, step * kStepBytesAlongLanes), Major::kDepth, layout_.columns,
                   output.values(), Major::kOther);
      }
    }
  }

  void RunTile(const DecodeItem& item, int first_token, bool ends_unit) {
    LoadTile(item, first_token);
    MakeScores(item, first_token);
    StepColumns(ends_unit);
    ZeroSlots(item.end_token - first_token);
    WriteWeights();
    MultiplyValues();
  }

  void EndUnit(const DecodeItem& item, bool first) {
    for (Column& column : columns_) {
      float of_warp[kWarpsOfGroup];
      for (int warp = 0; warp < kWarpsOfGroup; ++warp) {
        const float* s = column.sum[warp];
        of_warp[warp] = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
      }
      const float sum = (of_warp[0] + of_warp[1]) + (of_warp[2] + of_warp[3]);
      column.group_sum = Fold(column.fold, column.group_sum, sum);
      std::memset(column.sum, 0, sizeof column.sum);
    }
    for (int chunk = 0; chunk < layout_.latent_chunks; ++chunk) {
      Fragment& output = output_[static_cast<size_t>(chunk)];
      for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
        for (int i = 0; i < output.num_registers(); ++i) {
          const int row = FragmentColumn(thread, i);
          if (row >= item.num_rows) continue;
          float& place = SlotRow(params_, item, row,
                                 args_.row_latent)[chunk * kChunkLanes + FragmentRow(thread, i)];
          place = Fold(ColumnOf(thread, i).fold, first ? 0 : place, output(thread, i));
        }
      }
    }
  }

  const MlaDecodeArgs& args_;
  const DecodeParams& params_;
  SwappedLayout layout_;
  int chunks_;
  std::vector<std::byte> shared_;
  Fragment scores_;
  std::vector<Fragment> output_;  // of each chunk
  std::vector<Column> columns_;
  uint32_t first_chunk_ = 0;  // of the tile, among all that the thread block reads
};

}  // namespace

void EmulateSwappedItems(const MlaDecodeArgs& args, const DecodeParams& params, int columns) {
  for (int cta = 0; cta < args.plan->num_ctas; ++cta) {
    SwappedModel block(args, params, columns);
    ForEachItem(params, cta, args.plan->num_ctas,
                [&](const DecodeItem& item) { block.RunItem(item); });
  }
}

}  // namespace latentd::cuda
