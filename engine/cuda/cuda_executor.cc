#include "engine/cuda/cuda_executor.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

// Listed in some 2 µs, with the device idle; 64 KiB take 25.
constexpr int64_t kListBytesWithin = 8 << 10;

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
         CudaTransformer::DeviceBytes(config, layout, Widened(config, layout, limits)) +
         DeviceSampler::DeviceBytes(config.vocab_size, limits) +
         GraphReserveBytes(config.num_layers, limits.max_graphs);
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
  std::unique_ptr<cuda::BlasLt> library;
  if (limits.relaxed) {
    std::string why;
    library = cuda::BlasLt::TryMake(&why);
    if (library == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          "--determinism relaxed with --device cuda needs cuBLASLt, which cannot be used (", why,
          "): put the folder of libcublasLt.so.13 into LD_LIBRARY_PATH, or use --determinism "
          "strict"));
    }
  }
  const int64_t work_bytes = WorkBytes(config, layout, limits);
  const auto free_bytes = static_cast<int64_t>(cuda::QueryDevice().free_bytes);
  auto pool = pool_bytes <= free_bytes - work_bytes
                  ? cuda::DeviceBuffer::TryMake(static_cast<size_t>(pool_bytes))
                  : nullptr;
  if (pool == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a cache of ", pool_bytes, " bytes and ", work_bytes,
                     " bytes for a step and the graphs of steps are more than the ", free_bytes,
                     " that the weights leave free on the device; give a smaller --cache-memory or "
                     "--cache-tokens, or a smaller --max-num-batched-tokens"));
  }
  return std::unique_ptr<CudaExecutor>(new CudaExecutor(config, weights, layout,
                                                        Widened(config, layout, limits),
                                                        std::move(pool), std::move(library)));
}

CudaExecutor::CudaExecutor(const ModelConfig& config, const DeviceWeights& weights,
                           const BlockLayout& layout, const StepLimits& limits,
                           std::unique_ptr<cuda::DeviceBuffer> pool,
                           std::unique_ptr<cuda::BlasLt> library)
    : config_(config),
      pool_(std::move(pool)),
      transformer_(config, weights, layout, limits, this->pool(), stream_.get(),
                   std::move(library)),
      sender_(config, limits, cuda::QueryDevice().num_processors, transformer_.expanded()),
      graphs_(stream_.get(), static_cast<size_t>(limits.max_graphs)),
      sampler_(config.vocab_size, limits),
      logits_(static_cast<size_t>(kLogitsTile * config.vocab_size) * sizeof(float)) {}

void CudaExecutor::RunStep(const StepPlan& plan, const LogitsSink& sink, const TokenSink* tokens,
                           std::vector<EntryOutcome>* outcomes) {
  LATENTD_CHECK(cuda::UseDevice());
  outcomes->assign(plan.entries.size(), EntryOutcome::kCancelled);
  batch_.Build(plan, config_.full_width());
  if (!batch_.DropCancelled()) return;
  FindWanted(plan, tokens);
  const StepInputs& inputs = sender_.Send(stream_.get(), &batch_, wanted_rows_);
  const int64_t layers = RunLayers(inputs);
  const bool whole = layers == config_.num_layers;
  if (whole) {
    for (const size_t entry : batch_.entries) (*outcomes)[entry] = EntryOutcome::kDone;
    DrawTokens(inputs);
    DeliverLogits(inputs, sink, *outcomes);
  }
  sender_.PrepareNext(batch_);
  stream_.Wait();
  if (whole && tokens != nullptr) DeliverTokens(*tokens, *outcomes);
  layers_done_.fetch_add(static_cast<uint64_t>(layers), std::memory_order_relaxed);
}

int64_t CudaExecutor::RunLayers(const StepInputs& inputs) {
  if (inputs.shape) {
    RunGraph(inputs);
    return config_.num_layers;
  }
  transformer_.Embed(inputs);
  int64_t layers = 0;
  for (; layers < config_.num_layers && batch_.DropCancelled(); ++layers) {
    transformer_.RunLayer(layers, batch_, inputs);
  }
  return layers;
}

bool CudaExecutor::DrawsWithin(const StepInputs& inputs) const {
  return inputs.shape && drawn_.size() == batch_.sequences.size() &&
         sampler_.list_bytes() <= kListBytesWithin;
}

void CudaExecutor::RunGraph(const StepInputs& inputs) {
  DecodeShape shape = *inputs.shape;
  if (DrawsWithin(inputs)) {
    sampler_.Send(stream_.get(), shape.num_rows);
    shape.max_top = sampler_.max_top();
  }
  const auto enqueue = [&] {
    transformer_.Embed(inputs);
    for (int64_t i = 0; i < config_.num_layers; ++i) transformer_.RunLayer(i, batch_, inputs);
    if (shape.max_top) DrawRows(inputs, shape.num_rows);
  };
  graphs_.Run(shape, std::ref(enqueue));  // a copy of it would be allocated
}

void CudaExecutor::FindWanted(const StepPlan& plan, const TokenSink* tokens) {
  drawn_.clear();
  delivered_.clear();
  wanted_rows_.clear();
  sampler_.Clear();
  batch_.FindWanted(plan, &wanted_);
  for (const WantedRow& row : wanted_) (IsDrawn(tokens, row) ? drawn_ : delivered_).push_back(row);
  for (const auto* rows : {&drawn_, &delivered_}) {
    for (const WantedRow& row : *rows) wanted_rows_.push_back(static_cast<int32_t>(row.row));
  }
}

bool CudaExecutor::IsDrawn(const TokenSink* tokens, const WantedRow& row) {
  if (tokens == nullptr) return false;
  const std::optional<WantedToken> token = tokens->wanted(row.entry, row.position);
  return token && sampler_.Add(*token);
}

void CudaExecutor::DrawRows(const StepInputs& inputs, int64_t num_rows) {
  for (int64_t first = 0; first < num_rows; first += kLogitsTile) {
    const int64_t count = std::min(kLogitsTile, num_rows - first);
    sampler_.Draw(stream_.get(), first, transformer_.Logits(inputs, first, count));
  }
}

// Outside a graph the host lays out the lists of the draws while the device is at work on the
// layers.
void CudaExecutor::DrawTokens(const StepInputs& inputs) {
  if (drawn_.empty()) return;
  if (!DrawsWithin(inputs)) {
    const auto num_rows = static_cast<int64_t>(drawn_.size());
    sampler_.Send(stream_.get(), num_rows);
    DrawRows(inputs, num_rows);
  }
  sampler_.Fetch(stream_.get());
}

void CudaExecutor::DeliverTokens(const TokenSink& tokens,
                                 const std::vector<EntryOutcome>& outcomes) {
  for (size_t i = 0; i < drawn_.size(); ++i) {
    const WantedRow& row = drawn_[i];
    if (outcomes[row.entry] == EntryOutcome::kCancelled) continue;
    tokens.take(row.entry, row.position, sampler_.Token(i));
  }
}

void CudaExecutor::DeliverLogits(const StepInputs& inputs, const LogitsSink& sink,
                                 const std::vector<EntryOutcome>& outcomes) {
  const auto vocab = static_cast<size_t>(config_.vocab_size);
  auto* const host = reinterpret_cast<float*>(logits_.data());
  for (size_t begin = 0; begin < delivered_.size(); begin += kLogitsTile) {
    const size_t count = std::min<size_t>(kLogitsTile, delivered_.size() - begin);
    const MatrixView<const float> logits = transformer_.Logits(
        inputs, static_cast<int64_t>(drawn_.size() + begin), static_cast<int64_t>(count));
    cuda::CopyToHost(stream_.get(), logits_.data(), reinterpret_cast<const std::byte*>(logits.data),
                     count * vocab * sizeof(float));
    stream_.Wait();
    for (size_t i = 0; i < count; ++i) {
      const WantedRow& row = delivered_[begin + i];
      if (outcomes[row.entry] == EntryOutcome::kCancelled) continue;
      sink(row.entry, row.position, {host + i * vocab, vocab});
    }
  }
}

}  // namespace latentd
