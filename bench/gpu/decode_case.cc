#include "bench/gpu/decode_case.h"

#include <cmath>

#include "kernels/core/check.h"
#include "kernels/cuda/measure/traffic.h"

namespace latentd::bench {
namespace {

constexpr uint32_t kTableSeed = 1, kQuerySeed = 2;

cuda::DecodePlan PlanOf(const DecodeShape& shape, const std::vector<uint32_t>& tables,
                        int num_processors) {
  const std::vector<AttentionSequence> sequences = Sequences(shape, tables);
  const auto num_heads = static_cast<int>(shape.num_heads);
  cuda::DecodePlan plan = cuda::PlanDecode(sequences, num_heads, num_processors);
  if (shape.may_pair || plan.cluster == 1) return plan;
  return cuda::PlanDecodeWith(sequences, num_heads, num_processors, plan.span_tokens);
}

size_t QueryBytes(const DecodeShape& shape) {
  return static_cast<size_t>(shape.QueryRows() * 2 * shape.RowWidth());
}
size_t OutBytes(const DecodeShape& shape) {
  return static_cast<size_t>(shape.QueryRows() * 4 * shape.row_latent);
}
size_t PartialBytes(const DecodeShape& shape, const cuda::DecodePlan& plan) {
  return static_cast<size_t>(int64_t{plan.num_slots} * plan.slot_rows *
                             cuda::SlotRowFloats(shape.row_latent) * 4);
}
template <typename T>
size_t BytesOfVector(const std::vector<T>& values) {
  return values.size() * sizeof(T);
}

}  // namespace

int64_t DecodeCase::Bytes(const DecodeShape& shape, int num_processors) {
  const std::vector<uint32_t> tables = RandomTables(shape, kTableSeed);
  const cuda::DecodePlan plan = PlanOf(shape, tables, num_processors);
  return static_cast<int64_t>(QueryBytes(shape) + OutBytes(shape) + BytesOfVector(tables) +
                              BytesOfVector(plan.items) + BytesOfVector(plan.row_tiles) +
                              PartialBytes(shape, plan));
}

DecodeCase::DecodeCase(const DecodeShape& shape, const cuda::DeviceBuffer& pool, int num_processors)
    : shape_(shape),
      tables_(RandomTables(shape, kTableSeed)),
      plan_(PlanOf(shape, tables_, num_processors)),
      q_(QueryBytes(shape)),
      out_(OutBytes(shape)),
      device_tables_(BytesOfVector(tables_)),
      items_(BytesOfVector(plan_.items)),
      row_tiles_(BytesOfVector(plan_.row_tiles)),
      partials_(PartialBytes(shape, plan_)) {
  LATENTD_CHECK(static_cast<int64_t>(pool.bytes()) >= PoolBytes(shape));
  cuda::FillRandom(nullptr, q_.data(), static_cast<int64_t>(q_.bytes()), kQuerySeed);
  device_tables_.Upload(tables_.data());
  items_.Upload(plan_.items.data());
  row_tiles_.Upload(plan_.row_tiles.data());
  args_.q = reinterpret_cast<const bf16*>(q_.data());
  args_.q_rows = shape.QueryRows();
  args_.q_ld = shape.RowWidth();
  args_.out = reinterpret_cast<float*>(out_.data());
  args_.num_heads = static_cast<int>(shape.num_heads);
  args_.num_kv_groups = static_cast<int>(shape.num_kv_groups);
  args_.row_latent = static_cast<int>(shape.row_latent);
  args_.rope_dim = static_cast<int>(shape.rope_dim);
  args_.key_norm = shape.num_kv_groups == 0 ? KeyNorm::kNone : KeyNorm::kBlockwise;
  args_.softmax_scale = 1 / std::sqrt(static_cast<float>(shape.RowWidth()));
  args_.pool = pool.data();
  args_.pool_bytes = static_cast<int64_t>(pool.bytes());
  args_.layer = LayerOf(shape);
  args_.block_tables = reinterpret_cast<const uint32_t*>(device_tables_.data());
  args_.block_table_ld = shape.BlocksOfSequence();
  args_.items = reinterpret_cast<const cuda::DecodeItem*>(items_.data());
  args_.row_tiles = reinterpret_cast<const cuda::DecodeRowTile*>(row_tiles_.data());
  args_.plan = &plan_;
  if (!shape.may_swap) args_.columns = 0;
  args_.partials = reinterpret_cast<float*>(partials_.data());
}

void DecodeCase::Launch() { cuda::MlaDecode(nullptr, args_); }

std::vector<bf16> DecodeCase::Queries() const {
  std::vector<bf16> queries(q_.bytes() / sizeof(bf16));
  q_.Download(queries.data());
  return queries;
}

std::vector<float> DecodeCase::Output() const {
  std::vector<float> out(out_.bytes() / sizeof(float));
  out_.Download(out.data());
  return out;
}

void DecodeCase::CheckOutput() const {
  // Weights of a row add up to 1 but for their rounding to bf16 and that of the sums.
  for (const float value : Output()) LATENTD_CHECK(std::fabs(value) <= 1 + 0x1p-7f);
}

}  // namespace latentd::bench
