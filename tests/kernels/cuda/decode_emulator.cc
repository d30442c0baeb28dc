#include "tests/kernels/cuda/decode_emulator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "kernels/cuda/decode_layout.h"
#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/partial_softmax.h"
#include "tests/kernels/cuda/hopper_model.h"

namespace latentd::cuda {
namespace {

constexpr int kThreads = 128;  // of a warpgroup
constexpr int kScoreRegisters = kTileRows / 2;
constexpr int kTilesPerUnit = static_cast<int>(kUnitTokens) / kTileRows;

// Registers i of all threads of a warpgroup; NaN before anything is written to them.
class Fragment {
 public:
  explicit Fragment(int num_columns)
      : num_columns_(num_columns),
        values_(static_cast<size_t>(kTileRows * num_columns),
                std::numeric_limits<float>::quiet_NaN()) {}
  float& operator()(int thread, int i) {
    return values_[static_cast<size_t>(thread * (num_columns_ / 2) + i)];
  }
  void Clear() { std::fill(values_.begin(), values_.end(), 0.0f); }
  int num_columns() const { return num_columns_; }
  int num_registers() const { return num_columns_ / 2; }
  std::span<float> values() { return values_; }

 private:
  int num_columns_;
  std::vector<float> values_;
};

// What each row of a tile knows (its four lanes agree).
struct RowSums {
  float largest = kNoScore;
  float sum[4] = {};  // of the unit, by lane
  float group_largest = kNoScore;
  float group_sum = 0;
};

// One thread block.
class Block {
 public:
  Block(const MlaDecodeArgs& args, const DecodeParams& params)
      : args_(args),
        params_(params),
        layout_(args.row_latent / kChunkLanes),
        chunks_(layout_.latent_chunks + (params.has_rope ? 1 : 0)),
        shared_(kSharedBytes, std::byte{0xff}),
        scores_(kTileRows) {
    for (int w = 0; w < 2; ++w) output_.emplace_back(layout_.NumChunks(w) * kChunkLanes);
  }

  void RunItem(const DecodeItem& item) {
    LoadQueries(item);
    std::fill(rows_.begin(), rows_.end(), RowSums());
    const int num_tiles = (item.end_token - item.first_token + kTileRows - 1) / kTileRows;
    for (int unit = 0; unit < num_tiles; unit += kTilesPerUnit) {
      for (Fragment& output : output_) output.Clear();
      for (int tile = unit; tile < std::min(unit + kTilesPerUnit, num_tiles); ++tile, ++n_) {
        RunTile(item, item.first_token + tile * kTileRows);
      }
      EndUnit(item, unit == 0);
    }
    for (int row = 0; row < item.num_rows; ++row) {
      float* stats = SlotRow(item, row) + args_.row_latent;
      stats[0] = rows_[static_cast<size_t>(row)].group_largest;
      stats[1] = rows_[static_cast<size_t>(row)].group_sum;
    }
  }

 private:
  int64_t RowWidth() const { return args_.row_latent + args_.rope_dim; }
  uint32_t Granule(const DecodeItem& item, int token) const {
    return args_.block_tables[item.sequence * args_.block_table_ld + token / kTileRows];
  }
  float* SlotRow(const DecodeItem& item, int row) const {
    const int64_t slot_row = static_cast<int64_t>(item.slot) * params_.slot_rows + row;
    return params_.partials + slot_row * SlotRowFloats(args_.row_latent);
  }

  void LoadQueries(const DecodeItem& item) {
    const int64_t row_bytes = args_.q_ld * static_cast<int64_t>(sizeof(bf16));
    const std::span q(reinterpret_cast<const std::byte*>(args_.q),
                      static_cast<size_t>(args_.q_rows * row_bytes));
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      ModelTmaLoad(q, QueryBox(RowWidth(), args_.q_rows, row_bytes),
                   {chunk * kChunkLanes, item.q_row, 0}, shared_,
                   static_cast<uint32_t>(layout_.Queries(chunk)));
    }
  }

  void LoadTile(const DecodeItem& item, int first_token, int stage) {
    const std::span rows(args_.pool + args_.layer.rows,
                         static_cast<size_t>(args_.pool_bytes - args_.layer.rows));
    const TensorBox box =
        LatentBox(RowWidth(), args_.layer.row_bytes, NumBlockStarts(args_.pool_bytes, args_.layer));
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      ModelTmaLoad(rows, box, {chunk * kChunkLanes, 0, Granule(item, first_token)}, shared_,
                   static_cast<uint32_t>(layout_.Stage(stage, chunk)));
    }
    const int first_slot = item.end_token - first_token;  // past the end: zeros
    for (int chunk = 0; chunk < chunks_ && first_slot < kTileRows; ++chunk) {
      const int to = layout_.Stage(stage, chunk) + first_slot * kChunkRowBytes;
      std::memset(&shared_[static_cast<size_t>(to)], 0,
                  static_cast<size_t>((kTileRows - first_slot) * kChunkRowBytes));
    }
  }

  void MultiplyScores(int first_chunk, int num_chunks, int stage) {
    const uint64_t a = DescriptorAlongLanes(static_cast<uint32_t>(layout_.Queries(first_chunk)));
    const uint64_t b =
        DescriptorAlongLanes(static_cast<uint32_t>(layout_.Stage(stage, first_chunk)));
    for (int chunk = 0; chunk < num_chunks; ++chunk) {
      for (int step = 0; step < kStepsPerChunk; ++step) {
        const int bytes = chunk * kChunkBytes + step * kStepBytesAlongLanes;
        ModelWgmma(shared_, Advance(a, bytes), Advance(b, bytes), Major::kDepth, kTileRows,
                   scores_.values());
      }
    }
  }

  void MultiplyAlphas(const DecodeItem& item, int first_token) {
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

  void MaskScores(const DecodeItem& item, int first_token) {
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

  // The softmax step of every row; P goes where wgmma finds it. Returns the corrections.
  std::array<float, kTileRows> WriteWeights() {
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

  void MultiplyValues(int warpgroup, int stage, const std::array<float, kTileRows>& correction) {
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

  void RunTile(const DecodeItem& item, int first_token) {
    const int stage = static_cast<int>(n_ % static_cast<uint32_t>(layout_.num_stages));
    LoadTile(item, first_token, stage);
    scores_.Clear();
    MultiplyScores(0, layout_.latent_chunks, stage);
    if (params_.key_norm == KeyNorm::kBlockwise) MultiplyAlphas(item, first_token);
    if (params_.has_rope) MultiplyScores(layout_.latent_chunks, 1, stage);
    if (params_.key_norm == KeyNorm::kUnified) MultiplyAlphas(item, first_token);
    MaskScores(item, first_token);
    const std::array<float, kTileRows> correction = WriteWeights();
    for (int w = 0; w < 2; ++w) MultiplyValues(w, stage, correction);
  }

  void EndUnit(const DecodeItem& item, bool first) {
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
          float& place =
              SlotRow(item, row)[layout_.FirstChunk(w) * kChunkLanes + FragmentColumn(thread, i)];
          const float earlier = first ? 0 : place;
          place = Fold(weights[static_cast<size_t>(row)], earlier, output(thread, i));
        }
      }
    }
  }

  const MlaDecodeArgs& args_;
  const DecodeParams& params_;
  DecodeLayout layout_;
  int chunks_;
  std::vector<std::byte> shared_;
  Fragment scores_;
  std::vector<Fragment> output_;
  std::array<RowSums, kTileRows> rows_;
  uint32_t n_ = 0;  // tiles so far
};

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

}  // namespace

void EmulateMlaDecode(const MlaDecodeArgs& args) {
  const DecodeParams params = DecodeParamsOf(args);
  for (int cta = 0; cta < args.plan->num_ctas; ++cta) {
    Block block(args, params);
    for (int i = cta; i < params.num_items; i += args.plan->num_ctas) {
      if (params.items[i].num_rows == 0) break;
      block.RunItem(params.items[i]);
    }
  }
  const CombineParams combine = CombineParamsOf(args);
  const std::span row_tiles(combine.row_tiles, args.plan->row_tiles.size());
  for (const DecodeRowTile& tile : row_tiles) {
    LATENTD_CHECK(tile.num_rows <= combine.slot_rows);
    for (int row = 0; row < tile.num_rows; ++row) CombineRow(combine, tile, row);
  }
}

}  // namespace latentd::cuda
