#include "engine/cuda/step_inputs.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/cuda/expanded_route.h"
#include "engine/model/query_factors.h"
#include "kernels/core/check.h"
#include "kernels/core/rounding.h"
#include "kernels/cuda/shared_tile.h"

namespace latentd {
namespace {

constexpr size_t kAlign = 256;
// Pieces: ids, slots, wanted rows, angles, factors, tables, then two of each launch.
constexpr int64_t kFixedPieces = 6;

int64_t RowLatent(int64_t rank) { return CeilDiv(rank, cuda::kTileRows) * cuda::kTileRows; }

}  // namespace

// A token makes ⌈H / 64⌉ tiles of rows at most, a tile one item for each unit of tokens, and every
// launch has a token. Pairs of tiles make an eighth more items (PairsTiles). A decode step, of one
// token for each sequence, is padded to twice the items or to one for each processor.
int64_t StepSender::DeviceBytes(const ModelConfig& config, const StepLimits& limits,
                                int num_processors) {
  const int64_t tiles_of_token = CeilDiv(config.num_heads, cuda::kTileRows);
  const int64_t tiles = limits.max_rows * tiles_of_token;
  const int64_t items = std::max(limits.max_rows, 2 * limits.max_sequences) * tiles_of_token *
                            CeilDiv(limits.max_context, kUnitTokens) * 9 / 8 +
                        num_processors;
  const int64_t blocks = limits.max_sequences * CeilDiv(limits.max_context, kBlockTokens);
  const auto bytes = [](int64_t count, size_t size) { return count * static_cast<int64_t>(size); };
  return bytes(limits.max_rows, sizeof(uint32_t) + sizeof(float) + sizeof(int64_t)) +
         bytes(limits.max_rows * (config.qk_rope_head_dim + 1), sizeof(float)) +
         bytes(blocks, sizeof(uint32_t)) + bytes(items, sizeof(cuda::DecodeItem)) +
         bytes(tiles, sizeof(cuda::DecodeRowTile)) +
         bytes(kFixedPieces + 2 * limits.max_rows, kAlign);
}

StepSender::StepSender(const ModelConfig& config, const StepLimits& limits, int num_processors,
                       ExpandedRoute* route)
    : config_(config),
      limits_(limits),
      num_processors_(num_processors),
      route_(route),
      host_(static_cast<size_t>(DeviceBytes(config, limits, num_processors))),
      device_(host_.bytes()),
      angles_(config.rope, CeilDiv(limits.max_context, kBlockTokens) * kBlockTokens) {}

template <typename T>
StepSender::Piece<T> StepSender::Take(int64_t count) {
  const size_t at = used_;
  used_ += (static_cast<size_t>(count) * sizeof(T) + kAlign - 1) / kAlign * kAlign;
  LATENTD_CHECK(used_ <= host_.bytes());
  return {reinterpret_cast<T*>(host_.data() + at), reinterpret_cast<T*>(device_.data() + at)};
}

template <typename T>
const T* StepSender::Put(std::span<const T> from) {
  const Piece<T> piece = Take<T>(static_cast<int64_t>(from.size()));
  std::copy(from.begin(), from.end(), piece.host);
  return piece.device;
}

const StepInputs& StepSender::Send(CUstream_st* stream, StepBatch* batch,
                                   std::span<const int32_t> wanted) {
  LATENTD_CHECK(batch->num_rows() <= limits_.max_rows &&
                static_cast<int64_t>(batch->sequences.size()) <= limits_.max_sequences);
  used_ = 0;
  inputs_.shape.reset();
  inputs_.expanded.assign(batch->groups.size(), {});
  if (TakesGraph(*batch)) {
    PadRows(PaddedRows(batch->num_rows(), limits_.max_rows), batch);
    PutRows(*batch, wanted);
    PutDecode(*batch);
  } else {
    PutRows(*batch, wanted);
    PutAttention(*batch);
  }
  cuda::CopyToDevice(stream, device_.data(), host_.data(), used_);
  return inputs_;
}

// Of all that a decode step lays out, angles take the longest by far (docs/cuda.md).
void StepSender::PrepareNext(const StepBatch& batch) {
  for (const AttentionSequence& s : batch.sequences) {
    const int64_t next = s.first_position + s.num_tokens;
    if (next < angles_.num_positions()) angles_.Row(static_cast<int32_t>(next));
  }
}

void StepSender::PutRows(const StepBatch& batch, std::span<const int32_t> wanted) {
  const int64_t rows = batch.num_rows(), d_r = config_.qk_rope_head_dim;
  inputs_.token_ids = {Put(std::span(batch.token_ids)), batch.token_ids.size()};
  const Piece<int64_t> slots = Take<int64_t>(rows);
  for (int64_t i = 0; i < rows; ++i) {
    const auto row = static_cast<size_t>(i);
    slots.host[i] = int64_t{batch.blocks[row]} * kBlockTokens + batch.block_offsets[row];
  }
  inputs_.slots = slots.device;
  LATENTD_CHECK(wanted.size() <= static_cast<size_t>(rows));
  const Piece<int32_t> logits = Take<int32_t>(rows);
  std::fill(std::copy(wanted.begin(), wanted.end(), logits.host), logits.host + rows, 0);
  inputs_.wanted = {logits.device, static_cast<size_t>(rows)};
  const Piece<float> angles = Take<float>(rows * d_r);
  if (d_r > 0) {
    for (int64_t i = 0; i < rows; ++i) {
      const std::span<const float> row = angles_.Row(batch.positions[static_cast<size_t>(i)]);
      std::copy(row.begin(), row.end(), angles.host + i * d_r);
    }
  }
  inputs_.angles = {angles.device, rows, d_r, d_r};
  inputs_.query_factors = nullptr;
  if (config_.rope.query_beta == 0) return;
  const Piece<float> factors = Take<float>(rows);
  for (int64_t i = 0; i < rows; ++i) {
    factors.host[i] = QueryFactor(config_.rope, batch.positions[static_cast<size_t>(i)]);
  }
  inputs_.query_factors = factors.device;
}

// [sequences][block_table_ld]; what lies past a sequence's end is not read.
const uint32_t* StepSender::PutBlockTables(const StepBatch& batch) {
  int64_t blocks = 0;
  for (const AttentionSequence& s : batch.sequences) {
    blocks = std::max(blocks, CeilDiv(s.first_position + s.num_tokens, kBlockTokens));
  }
  LATENTD_CHECK(blocks <= CeilDiv(limits_.max_context, kBlockTokens));
  inputs_.block_table_ld = blocks;
  const auto count = static_cast<int64_t>(batch.sequences.size());
  const Piece<uint32_t> tables = Take<uint32_t>(count * blocks);
  for (int64_t i = 0; i < count; ++i) {
    const std::span table = batch.sequences[static_cast<size_t>(i)].block_table;
    std::copy_n(table.begin(), std::min(blocks, static_cast<int64_t>(table.size())),
                tables.host + i * blocks);
  }
  return tables.device;
}

void StepSender::PutAttention(const StepBatch& batch) {
  const uint32_t* const tables = PutBlockTables(batch);
  inputs_.groups.assign(batch.groups.size(), {});
  for (size_t g = 0; g < batch.groups.size(); ++g) {
    const WidthGroup& group = batch.groups[g];
    const size_t end = group.first_sequence + group.num_sequences;
    size_t first = group.first_sequence;  // not in a launch yet
    for (size_t i = first; i < end; ++i) {
      const AttentionSequence& s = batch.sequences[i];
      if (route_ == nullptr || !route_->Takes(s, group.width.kv)) continue;
      PutLaunches(batch, tables, g, first, i);
      inputs_.expanded[g].push_back({tables + static_cast<int64_t>(i) * inputs_.block_table_ld,
                                     s.first_row, s.num_tokens, s.first_position});
      first = i + 1;
    }
    PutLaunches(batch, tables, g, first, end);
  }
}

void StepSender::PutLaunches(const StepBatch& batch, const uint32_t* tables, size_t group,
                             size_t first, size_t end) {
  for (const AttentionLaunch& launch :
       CutLaunches(std::span(batch.sequences).subspan(first, end - first), config_.num_heads,
                   RowLatent(batch.groups[group].width.kv), PartialFloats())) {
    AttentionStep& step = inputs_.groups[group].emplace_back();
    step.plan =
        cuda::PlanDecode(launch.sequences, static_cast<int>(config_.num_heads), num_processors_);
    step.items = Put(std::span<const cuda::DecodeItem>(step.plan.items));
    step.row_tiles = Put(std::span<const cuda::DecodeRowTile>(step.plan.row_tiles));
    step.block_tables =
        tables + static_cast<int64_t>(first + launch.first_sequence) * inputs_.block_table_ld;
    const AttentionSequence& last = launch.sequences.back();
    step.end_row = last.first_row + last.num_tokens;
  }
}

int64_t StepSender::PartialFloats() const {
  return limits_.partial_bytes / static_cast<int64_t>(sizeof(float));
}

bool StepSender::TakesGraph(const StepBatch& batch) const {
  return limits_.max_graphs > 0 && IsDecodeStep(batch) &&
         FitOneLaunch(batch.sequences, config_.num_heads, RowLatent(batch.groups[0].width.kv),
                      PartialFloats());
}

// Tables stand last, as their size follows the contexts, and are read as rows of one element: an
// item's sequence is where its table begins. So neither their place nor their pitch is in a shape.
void StepSender::PutDecode(const StepBatch& batch) {
  const int64_t rows = batch.num_rows();
  cuda::DecodePlan& plan =
      planner_.Plan(batch.sequences, static_cast<int>(config_.num_heads), num_processors_);
  cuda::PadPlan(static_cast<int64_t>(batch.sequences.size()), rows,
                static_cast<int>(config_.num_heads), num_processors_, &plan);
  inputs_.groups.resize(1);
  inputs_.groups[0].resize(1);
  AttentionStep& step = inputs_.groups[0][0];
  step.row_tiles = Put(std::span<const cuda::DecodeRowTile>(plan.row_tiles));
  const auto items = Take<cuda::DecodeItem>(static_cast<int64_t>(plan.items.size()));
  step.items = items.device;
  step.block_tables = PutBlockTables(batch);
  const auto table_ld = static_cast<int32_t>(std::exchange(inputs_.block_table_ld, 1));
  std::transform(plan.items.begin(), plan.items.end(), items.host, [=](cuda::DecodeItem item) {
    item.sequence *= table_ld;
    return item;
  });
  step.end_row = rows;
  step.plan = plan;
  inputs_.shape = DecodeShape{rows, static_cast<int64_t>(plan.items.size()), plan.span_tokens,
                              batch.groups[0].width};
}

}  // namespace latentd
