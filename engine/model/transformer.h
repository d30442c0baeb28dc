// The one transformer of every family: pre-norm decoder with absorbed latent attention and a dense
// or mixture-of-experts MLP (latent-attention.md sections 2 and 7). Families differ in data.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "cache/block_layout.h"
#include "engine/model/buffer.h"
#include "engine/model/config.h"
#include "engine/model/query_factors.h"
#include "engine/model/step_batch.h"
#include "engine/model/weights.h"
#include "kernels/core/context.h"
#include "kernels/expanded_attention.h"

namespace latentd {

// strict: every position takes the absorbed route, and a token's bits depend on nothing but its own
// sequence. relaxed: prompt chunks for which PrefersExpanded says so take the expanded route; the
// same answers within rounding.
enum class Determinism : uint8_t { kStrict, kRelaxed };

// Owns the activations of a step; allocates nothing after construction. Engine thread only.
// Borrows config, weights and context, which outlive it. The residual stream and everything between
// matrix products is fp32. A width is a leading slice of every matrix between the latents and of
// the MLP, a view of the same weights (latent-attention.md section 4); rows of one width share
// their products, and the bits of a row do not depend on the widths of others.
class Transformer {
 public:
  // layout: of the blocks at full width, and their format. max_rows: the most tokens of one step.
  Transformer(const ModelConfig& config, const Weights& weights, const Context& context,
              const BlockLayout& layout, int64_t max_rows,
              Determinism determinism = Determinism::kStrict);

  // x = embedding of the batch's tokens. The result is borrowed until the next call.
  MatrixView<float> Embed(const StepBatch& batch);
  // Runs one layer on x and writes the layer's latents to the cache.
  void RunLayer(int64_t layer, const StepBatch& batch, std::byte* pool, MatrixView<float> x);
  // logits[i, :] for the rows of x named by `rows`, at most logits_tile() of them.
  MatrixView<float> Logits(MatrixView<const float> x, std::span<const int64_t> rows);
  int64_t logits_tile() const { return kLogitsTile; }

  // How often the weights of an expert were gone through since the start: once a layer and step for
  // each expert that some row chose.
  int64_t expert_runs() const { return expert_runs_; }

 private:
  static constexpr int64_t kLogitsTile = 64;

  void Attention(int64_t layer, const StepBatch& batch, std::byte* pool, MatrixView<const float> h,
                 MatrixView<float> out);
  // The rows of one group: latents into the cache, attention, the heads' outputs W_UV z.
  void AttendGroup(int64_t layer, const StepBatch& batch, const WidthGroup& group, std::byte* pool,
                   MatrixView<const float> h, MatrixView<const float> q, MatrixView<float> heads);
  // Neighbouring rows of a layer that attend by one route, at one width.
  struct AttentionRows {
    int64_t layer, rank;  // rank: of the latent
    const BlockLayout& layout;
    const std::byte* pool;
    std::span<const AttentionSequence> sequences;
    int64_t first, count;  // rows of the batch; those of cancelled sequences may be among them
  };
  void AttendAbsorbed(const AttentionRows& rows, MatrixView<const float> q,
                      MatrixView<float> heads);
  // rows: of one sequence.
  void AttendExpanded(const AttentionRows& rows, MatrixView<const float> q,
                      MatrixView<float> heads);
  AttentionGeometry Geometry(int64_t rank) const;
  bool TakesExpandedRoute(const AttentionSequence& sequence, int64_t rank) const;
  void ProjectQuery(const LayerWeights& w, int64_t rank, MatrixView<const float> h,
                    MatrixView<float> q);
  void ScaleQuery(const StepBatch& batch, MatrixView<float> q);
  void RotateQuery(const QueryNorm& norm, MatrixView<float> q);
  // h: the rows of the group.
  void WriteLatents(int64_t layer, const StepBatch& batch, const WidthGroup& group,
                    const BlockLayout& layout, std::byte* pool, MatrixView<const float> h);
  // u and k of W_DKV h, at rank c.cols; the rotary rows follow those of the full rank.
  void ProjectLatents(const LayerWeights& w, MatrixView<const float> h, MatrixView<float> c,
                      MatrixView<float> k);
  // c: as the cache will hold it; scales: of its rows, or null.
  void KeyScalars(const LayerWeights& w, MatrixView<const float> c, const float* scales,
                  MatrixView<const float> k_rope, MatrixView<float> alphas);
  void AbsorbQuery(const LayerWeights& w, int64_t rank, int64_t row_latent,
                   MatrixView<const float> q, MatrixView<float> absorbed);
  // The dense MLP, each group with its own share of the units.
  void DenseMlp(const MlpWeights& w, const StepBatch& batch, MatrixView<const float> h,
                MatrixView<float> out);
  void Mlp(const MlpWeights& w, MatrixView<const float> h, MatrixView<float> out);
  void MixtureOfExperts(const LayerWeights& w, MatrixView<const float> h, MatrixView<float> out);

  const ModelConfig& config_;
  const Weights& weights_;
  const Context& context_;
  const BlockLayout layout_;
  const Determinism determinism_;
  std::vector<QueryNorm> query_norms_;  // [layers], empty vectors without key norm

  Buffer x_, h_, block_out_;           // [T, d]
  Buffer angles_;                      // [T, d_r]
  Buffer q_a_, q_;                     // [T, r_q], [T, H(d_n+d_r)]
  Buffer kv_a_;                        // [T, r + d_r]
  Buffer keys_, alphas_, rope_norms_;  // [T, G·d_n], [T, G], [T·G, 1]
  Buffer scales_;                      // [T, 1], int8 alone
  Buffer q_absorbed_, z_;              // [T·H, r_w + d_r], [T·H, r_w]; a group in use at a time
  Buffer heads_;                       // [T, H·d_v]
  Buffer gate_, up_;                   // [T, units]
  Buffer router_logits_, expert_weights_;  // [T, E], [T, k]
  Buffer expert_in_, expert_out_;          // [T, d]
  Buffer shortcut_;                        // [T, d] from an even layer to the odd one after it
  std::vector<int32_t> expert_ids_;        // [T, k]
  std::vector<std::vector<int64_t>> expert_rows_;  // [E] entries t·k + j, by expert
  Buffer logits_in_, logits_;                      // [kLogitsTile, d], [kLogitsTile, V]
  std::vector<LatentSlot> slots_;
  int64_t expert_runs_ = 0;
};

}  // namespace latentd
