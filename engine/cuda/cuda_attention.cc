// The attention half of a layer: projections, key normalisation, latent write.
#include "engine/cuda/cuda_transformer.h"
#include "kernels/cuda/attention_operands.h"
#include "kernels/cuda/latent_write.h"
#include "kernels/cuda/operators.h"

namespace latentd {

void CudaTransformer::Attention(int64_t layer, const StepBatch& batch, const StepInputs& inputs,
                                MatrixView<const float> h, MatrixView<float> out) {
  const DeviceLayer& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t query_width =
      config_.num_heads * (config_.qk_nope_head_dim + config_.qk_rope_head_dim);
  const int64_t heads_width = config_.num_heads * config_.v_head_dim;
  const MatrixView<float> q{a_.q, h.rows, query_width, query_width};
  const MatrixView<float> heads{a_.heads, h.rows, heads_width, heads_width};
  for (const WidthGroup& group : batch.groups) {
    ProjectQuery(w, group.width.q, h.Rows(group.first_row, group.num_rows),
                 q.Rows(group.first_row, group.num_rows));
  }
  RotateQuery(w, inputs, q);
  if (inputs.query_factors != nullptr) cuda::ScaleRows(stream_, q, inputs.query_factors);
  for (size_t g = 0; g < batch.groups.size(); ++g) {
    const WidthGroup& group = batch.groups[g];
    const BlockLayout layout =
        BlockLayout::Make(layout_.num_layers, group.width.kv, layout_.rope_dim, layout_.num_alphas);
    // Before attention: a token attends to itself as stored.
    WriteLatents(layer, group, layout, inputs, h.Rows(group.first_row, group.num_rows));
    AttendGroup({layer, group, layout, q, heads}, inputs, inputs.groups[g], inputs.expanded[g]);
  }
  project_.Linear({.x = heads, .w = w.o_proj, .y = out, .bias = w.o_bias});
}

void CudaTransformer::ProjectQuery(const DeviceLayer& w, int64_t rank, MatrixView<const float> h,
                                   MatrixView<float> q) {
  if (config_.q_lora_rank == 0) {
    project_.Linear({.x = h, .w = w.q_proj, .y = q});
    return;
  }
  const MatrixView<float> a{a_.q_a, h.rows, rank, config_.q_lora_rank};
  project_.Linear({.x = h, .w = w.q_a_proj.Rows(0, rank), .y = a, .bias = w.q_a_bias});
  cuda::RmsNorm(stream_, a, w.q_a_norm, config_.latent_norm_eps, a);
  project_.Linear({.x = a, .w = w.q_b_proj.Leading(rank), .y = q});
}

void CudaTransformer::RotateQuery(const DeviceLayer& w, const StepInputs& inputs,
                                  MatrixView<float> q) {
  const int64_t d_n = config_.qk_nope_head_dim, d_r = config_.qk_rope_head_dim;
  const int64_t heads = config_.num_heads;
  const MatrixView<float> whole{q.data, q.rows * heads, d_n + d_r, d_n + d_r};
  const MatrixView<float> content = whole.Cols(0, d_n), rope = whole.Cols(d_n, d_r);
  const auto normalise = [&] {
    const float epsilon = config_.qk_norm_eps;
    if (config_.key_norm == KeyNorm::kBlockwise) {
      cuda::RmsNorm(stream_, content, w.query_content_norm, epsilon, content);
      if (d_r > 0) cuda::RmsNorm(stream_, rope, w.query_rope_norm, epsilon, rope);
    } else if (config_.key_norm == KeyNorm::kUnified) {
      cuda::RmsNorm(stream_, whole, w.query_unified_norm, epsilon, whole);
    }
  };
  if (config_.qk_norm_before_rope) normalise();
  if (d_r > 0) cuda::Rope(stream_, rope, inputs.angles, heads, config_.rope.interleaved);
  if (!config_.qk_norm_before_rope) normalise();
}

void CudaTransformer::WriteLatents(int64_t layer, const WidthGroup& group,
                                   const BlockLayout& layout, const StepInputs& inputs,
                                   MatrixView<const float> h) {
  const DeviceLayer& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t full = config_.kv_lora_rank, rank = group.width.kv;
  const int64_t d_n = config_.qk_nope_head_dim, d_r = config_.qk_rope_head_dim;
  const MatrixView<float> kv{a_.kv_a, h.rows, full + d_r, full + d_r};
  const MatrixView<float> u = kv.Cols(0, rank), k = kv.Cols(full, d_r);
  if (rank == full) {  // the two stand side by side in W_DKV and in kv
    project_.Linear({.x = h, .w = w.kv_a_proj, .y = kv, .bias = w.kv_a_bias});
  } else {
    const float* rope_bias = w.kv_a_bias == nullptr ? nullptr : w.kv_a_bias + full;
    project_.Linear({.x = h, .w = w.kv_a_proj.Rows(0, rank), .y = u, .bias = w.kv_a_bias});
    project_.Linear({.x = h, .w = w.kv_a_proj.Rows(full, d_r), .y = k, .bias = rope_bias});
  }
  cuda::LatentWrite(stream_, {.latents = u,
                              .keys = k,
                              .angles = inputs.angles.Rows(group.first_row, group.num_rows),
                              .latent_norm = w.kv_a_norm,
                              .latent_epsilon = config_.latent_norm_eps,
                              .interleaved = config_.rope.interleaved,
                              .norm_before_rope = config_.qk_norm_before_rope,
                              .slots = inputs.slots + group.first_row,
                              .pool = pool_.base,
                              .layer = layout.layer(layer),
                              .row_latent = layout.row_latent,
                              .key_norm = config_.key_norm,
                              .key_epsilon = config_.qk_norm_eps,
                              .key_norm_weight = w.k_rope_norm,
                              .w_uk = w.kv_b_proj.Rows(0, d_n).Leading(rank),
                              .w_uk_group_stride = (d_n + config_.v_head_dim) * w.kv_b_proj.ld,
                              .num_kv_groups = config_.num_kv_groups,
                              .key_squares = a_.key_squares});
}

}  // namespace latentd
