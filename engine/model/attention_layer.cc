// The attention half of a layer: projections, key normalisation, latent write, attention.
#include <algorithm>
#include <span>

#include "engine/model/transformer.h"
#include "kernels/core/thread_pool.h"
#include "kernels/elementwise.h"
#include "kernels/expanded_attention.h"
#include "kernels/latent_write.h"
#include "kernels/linear.h"
#include "kernels/mla_attention.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

namespace latentd {
namespace {

const float* BiasOrNull(const std::vector<float>& bias) {
  return bias.empty() ? nullptr : bias.data();
}

}  // namespace

void Transformer::Attention(int64_t layer, const StepBatch& batch, std::byte* pool,
                            MatrixView<const float> h, MatrixView<float> out) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const MatrixView<float> q = q_.Rows(h.rows), heads = heads_.Rows(h.rows);
  for (const WidthGroup& group : batch.groups) {
    ProjectQuery(w, group.width.q, h.Rows(group.first_row, group.num_rows),
                 q.Rows(group.first_row, group.num_rows));
  }
  RotateQuery(query_norms_[static_cast<size_t>(layer)], q);
  if (config_.rope.query_beta != 0) ScaleQuery(batch, q);
  for (const WidthGroup& group : batch.groups) AttendGroup(layer, batch, group, pool, h, q, heads);
  Linear(context_, {.x = heads, .w = w.o_proj, .y = out, .bias = BiasOrNull(w.o_bias)});
}

void Transformer::AttendGroup(int64_t layer, const StepBatch& batch, const WidthGroup& group,
                              std::byte* pool, MatrixView<const float> h, MatrixView<const float> q,
                              MatrixView<float> heads) {
  const BlockLayout layout = BlockLayout::Make(layout_.num_layers, group.width.kv, layout_.rope_dim,
                                               layout_.num_alphas, layout_.format);
  const auto sequences =
      std::span(batch.sequences).subspan(group.first_sequence, group.num_sequences);
  // Before attention: a token attends to itself as stored.
  WriteLatents(layer, batch, group, layout, pool, h.Rows(group.first_row, group.num_rows));
  AttentionRows rows{layer,     group.width.kv,  layout,        pool,
                     sequences, group.first_row, group.num_rows};
  if (determinism_ == Determinism::kStrict) return AttendAbsorbed(rows, q, heads);
  for (size_t i = 0, end = 0; i < sequences.size(); i = end) {
    const bool expanded = TakesExpandedRoute(sequences[i], group.width.kv);
    end = i + 1;
    while (!expanded && end < sequences.size() &&
           !TakesExpandedRoute(sequences[end], group.width.kv)) {
      ++end;
    }
    const AttentionSequence& last = sequences[end - 1];
    rows.sequences = sequences.subspan(i, end - i);
    rows.first = sequences[i].first_row;
    rows.count = last.first_row + last.num_tokens - rows.first;
    expanded ? AttendExpanded(rows, q, heads) : AttendAbsorbed(rows, q, heads);
  }
}

void Transformer::AttendAbsorbed(const AttentionRows& rows, MatrixView<const float> q,
                                 MatrixView<float> heads) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(rows.layer)];
  const int64_t num_heads = config_.num_heads;
  const int64_t row_latent = rows.layout.row_latent, row = row_latent + rows.layout.rope_dim;
  // Row numbers are the batch's, with this width's pitch: the rows before the first stay unread.
  const int64_t end = (rows.first + rows.count) * num_heads;
  const MatrixView<float> absorbed{q_absorbed_.data(), end, row, row};
  const MatrixView<float> z{z_.data(), end, row_latent, row_latent};
  AbsorbQuery(w, rows.rank, row_latent, q.Rows(rows.first, rows.count),
              absorbed.Rows(rows.first * num_heads, rows.count * num_heads));
  MlaAttention(context_, {.q = absorbed,
                          .out = z,
                          .num_heads = num_heads,
                          .num_kv_groups = config_.num_kv_groups,
                          .row_latent = row_latent,
                          .rope_dim = rows.layout.rope_dim,
                          .key_norm = config_.key_norm,
                          .softmax_scale = config_.softmax_scale,
                          .pool = rows.pool,
                          .layer = rows.layout.layer(rows.layer),
                          .sequences = rows.sequences});

  // o_h = W_UV,g(h) z_h for every head.
  const int64_t d_n = config_.qk_nope_head_dim, d_v = config_.v_head_dim;
  Linear(context_,
         {.x = {z.row(rows.first * num_heads), rows.count, rows.rank, num_heads * row_latent},
          .w = w.kv_b_proj.Rows(d_n, d_v).Leading(rows.rank),
          .y = {heads.row(rows.first), rows.count, d_v, heads.ld},
          .batch = num_heads,
          .x_batch_stride = row_latent,
          .y_batch_stride = d_v,
          .w_batch_stride = (d_n + d_v) * w.kv_b_proj.ld,
          .w_batch_share = num_heads / config_.num_kv_groups});
}

void Transformer::AttendExpanded(const AttentionRows& rows, MatrixView<const float> q,
                                 MatrixView<float> heads) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(rows.layer)];
  ExpandedAttention(context_, {.geometry = Geometry(rows.rank),
                               .q = q.Rows(rows.first, rows.count),
                               .kv_b = w.kv_b_proj.Leading(rows.rank),
                               .out = heads.Rows(rows.first, rows.count),
                               .row_latent = rows.layout.row_latent,
                               .key_norm = config_.key_norm,
                               .softmax_scale = config_.softmax_scale,
                               .pool = rows.pool,
                               .layer = rows.layout.layer(rows.layer),
                               .sequence = rows.sequences[0]});
}

AttentionGeometry Transformer::Geometry(int64_t rank) const {
  return {.num_heads = config_.num_heads,
          .num_kv_groups = config_.num_kv_groups,
          .nope_dim = config_.qk_nope_head_dim,
          .rope_dim = config_.qk_rope_head_dim,
          .value_dim = config_.v_head_dim,
          .latent_width = rank};
}

bool Transformer::TakesExpandedRoute(const AttentionSequence& sequence, int64_t rank) const {
  return PrefersExpanded(Geometry(rank), sequence.first_position, sequence.num_tokens);
}

void Transformer::ProjectQuery(const LayerWeights& w, int64_t rank, MatrixView<const float> h,
                               MatrixView<float> q) {
  if (config_.q_lora_rank == 0) {
    Linear(context_, {.x = h, .w = w.q_proj, .y = q});
    return;
  }
  const MatrixView<float> a = q_a_.Rows(h.rows).Cols(0, rank);
  Linear(context_, {.x = h, .w = w.q_a_proj.Rows(0, rank), .y = a, .bias = BiasOrNull(w.q_a_bias)});
  RmsNorm(context_, a, w.q_a_norm.data(), config_.latent_norm_eps, a);
  Linear(context_, {.x = a, .w = w.q_b_proj.Leading(rank), .y = q});
}

// The whole query grows with its position (Mistral 4; latent-attention.md section 2).
void Transformer::ScaleQuery(const StepBatch& batch, MatrixView<float> q) {
  for (int64_t i = 0; i < q.rows; ++i) {
    const float factor = QueryFactor(config_.rope, batch.positions[static_cast<size_t>(i)]);
    if (factor == 1) continue;
    for (int64_t j = 0; j < q.cols; ++j) q.row(i)[j] *= factor;
  }
}

void Transformer::RotateQuery(const QueryNorm& norm, MatrixView<float> q) {
  const int64_t d_n = config_.qk_nope_head_dim, d_r = config_.qk_rope_head_dim;
  const int64_t heads = config_.num_heads;
  const MatrixView<float> whole{q.data, q.rows * heads, d_n + d_r, d_n + d_r};
  const MatrixView<float> content = whole.Cols(0, d_n), rope = whole.Cols(d_n, d_r);
  const auto normalise = [&] {
    if (config_.key_norm == KeyNorm::kBlockwise) {
      RmsNorm(context_, content, norm.content.data(), config_.qk_norm_eps, content);
      if (d_r > 0) RmsNorm(context_, rope, norm.rope.data(), config_.qk_norm_eps, rope);
    } else if (config_.key_norm == KeyNorm::kUnified) {
      RmsNorm(context_, whole, norm.unified.data(), config_.qk_norm_eps, whole);
    }
  };
  if (config_.qk_norm_before_rope) normalise();
  if (d_r > 0) {
    Rope(context_, rope, angles_.Rows(q.rows), heads, config_.rope.interleaved);
  }
  if (!config_.qk_norm_before_rope) normalise();
}

void Transformer::WriteLatents(int64_t layer, const StepBatch& batch, const WidthGroup& group,
                               const BlockLayout& layout, std::byte* pool,
                               MatrixView<const float> h) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  const int64_t d_r = config_.qk_rope_head_dim;
  const MatrixView<float> kv = kv_a_.Rows(h.rows);
  const MatrixView<float> c = kv.Cols(0, group.width.kv), k = kv.Cols(config_.kv_lora_rank, d_r);
  ProjectLatents(w, h, c, k);
  RmsNorm(context_, c, w.kv_a_norm.data(), config_.latent_norm_eps, c);
  // α belongs to c as stored.
  float* const scales = layout.format == CacheFormat::kInt8 ? scales_.data() : nullptr;
  if (scales != nullptr) {
    QuantiseLatents(context_, c, scales);
  } else {
    RoundToBf16InPlace(context_, c);
  }

  const MatrixView<float> alphas = alphas_.Rows(h.rows);
  const bool rotate_first = !config_.qk_norm_before_rope;
  const auto rotate = [&] {
    if (d_r == 0) return;
    Rope(context_, k, angles_.Rows(batch.num_rows()).Rows(group.first_row, group.num_rows), 1,
         config_.rope.interleaved);
  };
  if (rotate_first) rotate();
  if (config_.key_norm != KeyNorm::kNone) KeyScalars(w, c, scales, k, alphas);
  if (d_r > 0 && config_.key_norm == KeyNorm::kBlockwise) {
    RmsNorm(context_, k, w.k_rope_norm.data(), config_.qk_norm_eps, k);
  } else if (d_r > 0 && config_.key_norm == KeyNorm::kUnified) {
    for (int64_t t = 0; t < k.rows; ++t) {
      for (int64_t j = 0; j < d_r; ++j) k.row(t)[j] *= w.k_rope_norm[static_cast<size_t>(j)];
    }
  }
  if (!rotate_first) rotate();

  batch.Slots(group, layout, layer, pool, &slots_);
  LatentWrite(context_, {.c = c,
                         .k_rope = k,
                         .alphas = alphas,
                         .scales = scales,
                         .row_latent = layout.row_latent,
                         .slots = slots_});
}

void Transformer::ProjectLatents(const LayerWeights& w, MatrixView<const float> h,
                                 MatrixView<float> c, MatrixView<float> k) {
  const float* bias = BiasOrNull(w.kv_a_bias);
  if (c.cols == config_.kv_lora_rank) {  // the two stand side by side in W_DKV and in kv_a_
    const MatrixView<float> kv{c.data, c.rows, c.cols + k.cols, c.ld};
    Linear(context_, {.x = h, .w = w.kv_a_proj, .y = kv, .bias = bias});
    return;
  }
  Linear(context_, {.x = h, .w = w.kv_a_proj.Rows(0, c.cols), .y = c, .bias = bias});
  Linear(context_, {.x = h,
                    .w = w.kv_a_proj.Rows(config_.kv_lora_rank, k.cols),
                    .y = k,
                    .bias = bias == nullptr ? nullptr : bias + config_.kv_lora_rank});
}

// α[t, g] = ρ(W_UK,g c_t), with ‖k_t‖² inside the mean in the unified form. No key is kept. Of an
// int8 latent the whole numbers are projected, which no product rounds, and the key is scaled.
void Transformer::KeyScalars(const LayerWeights& w, MatrixView<const float> c, const float* scales,
                             MatrixView<const float> k_rope, MatrixView<float> alphas) {
  const int64_t groups = config_.num_kv_groups, d_n = config_.qk_nope_head_dim;
  const MatrixView<float> keys = keys_.Rows(c.rows);
  Linear(context_, {.x = c,
                    .w = w.kv_b_proj.Rows(0, d_n).Leading(c.cols),
                    .y = {keys.data, c.rows, d_n, keys.ld},
                    .batch = groups,
                    .y_batch_stride = d_n,
                    .w_batch_stride = (d_n + config_.v_head_dim) * w.kv_b_proj.ld});
  if (scales != nullptr) ScaleRowsInPlace(context_, keys, scales);
  const float* extra = nullptr;
  int64_t extra_count = 0;
  if (config_.key_norm == KeyNorm::kUnified) {
    float* sums = rope_norms_.data();
    for (int64_t t = 0; t < k_rope.rows; ++t) {
      float sum = 0;
      for (int64_t j = 0; j < k_rope.cols; ++j) sum += k_rope.row(t)[j] * k_rope.row(t)[j];
      std::fill_n(sums + t * groups, groups, sum);
    }
    extra = sums;
    extra_count = k_rope.cols;
  }
  InverseRms(context_, {keys.data, c.rows * groups, d_n, d_n}, extra, extra_count,
             config_.qk_norm_eps, alphas.data);
}

// q̃_h = W_UK,g(h)ᵀ q̂_C,h beside the rotated part: the row that meets the cache. Lanes between the
// rank and row_latent are zero, as they are there.
void Transformer::AbsorbQuery(const LayerWeights& w, int64_t rank, int64_t row_latent,
                              MatrixView<const float> q, MatrixView<float> absorbed) {
  const int64_t d_n = config_.qk_nope_head_dim, d_r = config_.qk_rope_head_dim;
  const int64_t heads = config_.num_heads;
  LinearTransposed(context_, {.x = {q.data, q.rows, d_n, q.ld},
                              .w = w.kv_b_proj.Rows(0, d_n).Leading(rank),
                              .y = {absorbed.data, q.rows, rank, heads * absorbed.ld},
                              .batch = heads,
                              .x_batch_stride = d_n + d_r,
                              .y_batch_stride = absorbed.ld,
                              .w_batch_stride = (d_n + config_.v_head_dim) * w.kv_b_proj.ld,
                              .w_batch_share = heads / config_.num_kv_groups});
  ParallelFor(context_.pool, q.rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * heads; i < end * heads; ++i) {
      std::fill(absorbed.row(i) + rank, absorbed.row(i) + row_latent, 0.0f);
      std::copy_n(q.data + i * (d_n + d_r) + d_n, d_r, absorbed.row(i) + row_latent);
    }
  });
}

}  // namespace latentd
