#include "engine/cuda/cuda_executor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

// With room for the attention of any token.
StepLimits Widened(const ModelConfig& config, const BlockLayout& layout, StepLimits limits) {
  const int64_t least =
      LeastPartialFloats(config.num_heads, layout.row_latent, limits.max_context) *
      static_cast<int64_t>(sizeof(float));
  limits.partial_bytes = std::max(limits.partial_bytes, least);
  return limits;
}

}  // namespace

int64_t CudaExecutor::WorkBytes(const ModelConfig& config, const BlockLayout& layout,
                                const StepLimits& limits) {
  return StepSender::DeviceBytes(config, limits, cuda::QueryDevice().num_processors) +
         CudaTransformer::DeviceBytes(config, layout, Widened(config, layout, limits));
}

absl::StatusOr<std::unique_ptr<CudaExecutor>> CudaExecutor::Create(const ModelConfig& config,
                                                                   const DeviceWeights& weights,
                                                                   const BlockLayout& layout,
                                                                   const StepLimits& limits,
                                                                   int64_t pool_bytes) {
  if (layout.format != CacheFormat::kBf16) {
    return absl::UnimplementedError(
        "the CUDA back end stores latents as bf16 alone; use --cache-format bf16 or --device cpu");
  }
  const int64_t work_bytes = WorkBytes(config, layout, limits);
  const auto free_bytes = static_cast<int64_t>(cuda::QueryDevice().free_bytes);
  auto pool = pool_bytes <= free_bytes - work_bytes
                  ? cuda::DeviceBuffer::TryMake(static_cast<size_t>(pool_bytes))
                  : nullptr;
  if (pool == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a cache of ", pool_bytes, " bytes and ", work_bytes,
                     " bytes for a step are more than the ", free_bytes,
                     " that the weights leave free on the device; give a smaller --cache-memory or "
                     "--cache-tokens, or a smaller --max-num-batched-tokens"));
  }
  return std::unique_ptr<CudaExecutor>(
      new CudaExecutor(config, weights, layout, Widened(config, layout, limits), std::move(pool)));
}

CudaExecutor::CudaExecutor(const ModelConfig& config, const DeviceWeights& weights,
                           const BlockLayout& layout, const StepLimits& limits,
                           std::unique_ptr<cuda::DeviceBuffer> pool)
    : config_(config),
      pool_(std::move(pool)),
      sender_(config, limits, cuda::QueryDevice().num_processors),
      transformer_(config, weights, layout, limits,
                   {pool_->data(), static_cast<int64_t>(pool_->bytes())}, stream_.get()),
      graphs_(stream_.get(), static_cast<size_t>(limits.max_graphs)),
      logits_(static_cast<size_t>(kLogitsTile * config.vocab_size) * sizeof(float)) {}

void CudaExecutor::Run(const StepPlan& plan, const LogitsSink& sink,
                       std::vector<EntryOutcome>* outcomes) {
  LATENTD_CHECK(cuda::UseDevice());
  outcomes->assign(plan.entries.size(), EntryOutcome::kCancelled);
  batch_.Build(plan, config_.full_width());
  if (!batch_.DropCancelled()) return;
  batch_.FindWanted(plan, &wanted_);
  wanted_rows_.clear();
  for (const WantedRow& row : wanted_) wanted_rows_.push_back(static_cast<int32_t>(row.row));
  const StepInputs& inputs = sender_.Send(stream_.get(), &batch_, wanted_rows_);
  const int64_t layers = RunLayers(inputs);
  const bool whole = layers == config_.num_layers;
  if (whole) {
    for (const size_t entry : batch_.entries) (*outcomes)[entry] = EntryOutcome::kDone;
    DeliverLogits(inputs, sink, *outcomes);
  }
  stream_.Wait();
  layers_done_.fetch_add(static_cast<uint64_t>(layers), std::memory_order_relaxed);
}

int64_t CudaExecutor::RunLayers(const StepInputs& inputs) {
  if (inputs.shape) {
    graphs_.Run(*inputs.shape, [&] {
      transformer_.Embed(inputs);
      for (int64_t i = 0; i < config_.num_layers; ++i) transformer_.RunLayer(i, batch_, inputs);
    });
    return config_.num_layers;
  }
  transformer_.Embed(inputs);
  int64_t layers = 0;
  for (; layers < config_.num_layers && batch_.DropCancelled(); ++layers) {
    transformer_.RunLayer(layers, batch_, inputs);
  }
  return layers;
}

void CudaExecutor::DeliverLogits(const StepInputs& inputs, const LogitsSink& sink,
                                 const std::vector<EntryOutcome>& outcomes) {
  const auto vocab = static_cast<size_t>(config_.vocab_size);
  auto* const host = reinterpret_cast<float*>(logits_.data());
  for (size_t begin = 0; begin < wanted_.size(); begin += kLogitsTile) {
    const size_t count = std::min<size_t>(kLogitsTile, wanted_.size() - begin);
    const MatrixView<const float> logits =
        transformer_.Logits(inputs, static_cast<int64_t>(begin), static_cast<int64_t>(count));
    cuda::CopyToHost(stream_.get(), logits_.data(), reinterpret_cast<const std::byte*>(logits.data),
                     count * vocab * sizeof(float));
    stream_.Wait();
    for (size_t i = 0; i < count; ++i) {
      const WantedRow& row = wanted_[begin + i];
      if (outcomes[row.entry] == EntryOutcome::kCancelled) continue;
      sink(row.entry, row.position, {host + i * vocab, vocab});
    }
  }
}

}  // namespace latentd
