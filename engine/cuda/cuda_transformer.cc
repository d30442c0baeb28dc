#include "engine/cuda/cuda_transformer.h"

#include <utility>

#include "kernels/core/check.h"
#include "kernels/cuda/attention_operands.h"
#include "kernels/cuda/operators.h"

namespace latentd {

int64_t CudaTransformer::DeviceBytes(const ModelConfig& config, const BlockLayout& layout,
                                     const StepLimits& limits) {
  DeviceArena arena;
  Activations::Place(config, layout, limits, arena);
  return static_cast<int64_t>(arena.bytes());
}

CudaTransformer::CudaTransformer(const ModelConfig& config, const DeviceWeights& weights,
                                 const BlockLayout& layout, const StepLimits& limits,
                                 const DevicePool& pool, CUstream_st* stream,
                                 std::unique_ptr<cuda::BlasLt> library)
    : config_(config),
      weights_(weights),
      layout_(layout),
      pool_(pool),
      stream_(stream),
      memory_(static_cast<size_t>(DeviceBytes(config, layout, limits))),
      project_(stream, std::move(library), a_),
      expanded_(config, weights, stream, project_.library(), a_) {
  LATENTD_CHECK(layout.format == CacheFormat::kBf16);
  DeviceArena arena(memory_.data());
  a_ = Activations::Place(config, layout, limits, arena);
}

CudaTransformer::Rows CudaTransformer::RowsOf(int64_t count) const {
  const int64_t d = config_.hidden_size;
  return {{a_.x, count, d, d}, {a_.h, count, d, d}, {a_.block_out, count, d, d}};
}

void CudaTransformer::Embed(const StepInputs& inputs) {
  const MatrixView<float> x = RowsOf(static_cast<int64_t>(inputs.token_ids.size())).x;
  cuda::Embedding(stream_, inputs.token_ids, weights_.embedding, x);
  if (config_.embedding_scale != 1) cuda::ScaleInPlace(stream_, x, config_.embedding_scale);
}

void CudaTransformer::RunLayer(int64_t layer, const StepBatch& batch, const StepInputs& inputs) {
  const DeviceLayer& w = weights_.layers[static_cast<size_t>(layer)];
  const auto [x, h, out] = RowsOf(batch.num_rows());
  const MatrixView<float> shortcut{a_.shortcut, x.rows, x.cols, x.ld};
  cuda::RmsNorm(stream_, x, w.input_norm, config_.rms_norm_eps, h);
  Attention(layer, batch, inputs, h, out);
  cuda::AddInPlace(stream_, x, out, config_.residual_scale);
  cuda::RmsNorm(stream_, x, w.post_attention_norm, config_.rms_norm_eps, h);
  if (config_.starts_shortcut(layer)) MixtureOfExperts(w, h, shortcut);
  if (config_.is_moe_layer(layer)) {
    MixtureOfExperts(w, h, out);
  } else {
    DenseMlp(w.mlp, batch, h, out);
  }
  cuda::AddInPlace(stream_, x, out, config_.residual_scale);
  if (config_.ends_shortcut(layer)) cuda::AddInPlace(stream_, x, shortcut);
}

MatrixView<const float> CudaTransformer::Logits(const StepInputs& inputs, int64_t first,
                                                int64_t count) {
  LATENTD_CHECK(count <= kLogitsTile);
  const int64_t d = config_.hidden_size, vocab = config_.vocab_size;
  const MatrixView<float> in{a_.logits_in, count, d, d}, logits{a_.logits, count, vocab, vocab};
  const MatrixView<float> x = RowsOf(static_cast<int64_t>(inputs.token_ids.size())).x;
  cuda::GatherRows(stream_, x, inputs.wanted.data() + first, in);
  cuda::RmsNorm(stream_, in, weights_.final_norm, config_.rms_norm_eps, in);
  project_.Linear({.x = in, .w = weights_.lm_head, .y = logits});
  return logits;
}

}  // namespace latentd
