// From queries to the heads' outputs, by the absorbed route and the expanded one.
#include "engine/cuda/cuda_transformer.h"
#include "kernels/cuda/mla_decode.h"

namespace latentd {
namespace {

// run(first row, count) for the rows of the group between its expanded chunks.
template <typename Run>
void ForEachAbsorbed(const WidthGroup& group, const std::vector<ExpandedStep>& expanded, Run run) {
  int64_t first = group.first_row;
  for (const ExpandedStep& step : expanded) {
    if (step.first_row > first) run(first, step.first_row - first);
    first = step.first_row + step.num_tokens;
  }
  const int64_t end = group.first_row + group.num_rows;
  if (end > first) run(first, end - first);
}

}  // namespace

void CudaTransformer::AttendGroup(const AttentionRows& rows, const StepInputs& inputs,
                                  const std::vector<AttentionStep>& launches,
                                  const std::vector<ExpandedStep>& expanded) {
  ForEachAbsorbed(rows.group, expanded,
                  [&](int64_t first, int64_t count) { AbsorbQuery(rows, first, count); });
  for (const AttentionStep& launch : launches) Launch(rows, inputs, launch);
  ForEachAbsorbed(rows.group, expanded,
                  [&](int64_t first, int64_t count) { ProjectValues(rows, first, count); });
  for (const ExpandedStep& step : expanded) AttendExpanded(rows, step);
}

void CudaTransformer::AttendExpanded(const AttentionRows& rows, const ExpandedStep& step) {
  const WeightView& kv_b = weights_.layers[static_cast<size_t>(rows.layer)].kv_b_proj;
  expanded_.Attend({.kv_b = kv_b.Leading(rows.group.width.kv),
                    .q = rows.q.Rows(step.first_row, step.num_tokens),
                    .out = rows.heads.Rows(step.first_row, step.num_tokens),
                    .pool = pool_.base,
                    .layer = rows.layout.layer(rows.layer),
                    .row_latent = rows.layout.row_latent,
                    .block_table = step.block_table,
                    .first_position = step.first_position});
}

// Row numbers are the batch's, with this width's pitch: the rows before the first stay unread.
void CudaTransformer::AbsorbQuery(const AttentionRows& rows, int64_t first, int64_t count) {
  const WeightView& kv_b = weights_.layers[static_cast<size_t>(rows.layer)].kv_b_proj;
  const int64_t num_heads = config_.num_heads, row_latent = rows.layout.row_latent;
  const int64_t d_n = config_.qk_nope_head_dim, ld = AbsorbedLd(rows.layout);
  // Its sums may stand where attention writes next.
  project_.AbsorbQuery({.q = rows.q.Rows(first, count),
                        .w_uk = kv_b.Rows(0, d_n).Leading(rows.group.width.kv),
                        .w_uk_group_stride = (d_n + config_.v_head_dim) * kv_b.ld,
                        .num_heads = num_heads,
                        .num_kv_groups = config_.num_kv_groups,
                        .nope_dim = d_n,
                        .rope_dim = rows.layout.rope_dim,
                        .row_latent = row_latent,
                        .out = a_.absorbed + first * num_heads * ld,
                        .out_ld = ld},
                       a_.z + first * num_heads * row_latent);
}

void CudaTransformer::Launch(const AttentionRows& rows, const StepInputs& inputs,
                             const AttentionStep& launch) {
  cuda::MlaDecode(stream_, {.q = a_.absorbed,
                            .q_rows = launch.end_row * config_.num_heads,
                            .q_ld = AbsorbedLd(rows.layout),
                            .out = a_.z,
                            .num_heads = static_cast<int>(config_.num_heads),
                            .num_kv_groups = static_cast<int>(config_.num_kv_groups),
                            .row_latent = static_cast<int>(rows.layout.row_latent),
                            .rope_dim = static_cast<int>(rows.layout.rope_dim),
                            .key_norm = config_.key_norm,
                            .softmax_scale = config_.softmax_scale,
                            .pool = pool_.base,
                            .pool_bytes = pool_.bytes,
                            .layer = rows.layout.layer(rows.layer),
                            .block_tables = launch.block_tables,
                            .block_table_ld = inputs.block_table_ld,
                            .items = launch.items,
                            .row_tiles = launch.row_tiles,
                            .plan = &launch.plan,
                            .partials = a_.partials});
}

// o_h = W_UV,g(h) z_h for every head.
void CudaTransformer::ProjectValues(const AttentionRows& rows, int64_t first, int64_t count) {
  const WeightView& kv_b = weights_.layers[static_cast<size_t>(rows.layer)].kv_b_proj;
  const int64_t num_heads = config_.num_heads, row_latent = rows.layout.row_latent;
  const int64_t d_n = config_.qk_nope_head_dim, d_v = config_.v_head_dim;
  const int64_t rank = rows.group.width.kv;
  project_.Linear(
      {.x = {a_.z + first * num_heads * row_latent, count, rank, num_heads * row_latent},
       .w = kv_b.Rows(d_n, d_v).Leading(rank),
       .y = {rows.heads.row(first), count, d_v, rows.heads.ld},
       .batch = num_heads,
       .x_batch_stride = row_latent,
       .y_batch_stride = d_v,
       .w_batch_stride = (d_n + d_v) * kv_b.ld,
       .w_batch_share = num_heads / config_.num_kv_groups});
}

}  // namespace latentd
