#include "engine/cuda/device_weights.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/cuda/device_arena.h"
#include "engine/cuda/device_support.h"
#include "engine/cuda/staged_upload.h"
#include "engine/model/query_factors.h"
#include "kernels/core/check.h"
#include "kernels/quantise.h"

namespace latentd {
namespace {

constexpr size_t kPieceBytes = size_t{32} << 20;  // beside it a copy's start costs little

int64_t StoredBytes(const WeightView& matrix) {
  if (IsBlocked(matrix.dtype)) {
    LATENTD_CHECK(matrix.scales.first_row == 0);  // the whole matrix
    return FormatOf(matrix.dtype).Bytes(matrix.rows, matrix.cols);
  }
  LATENTD_CHECK(matrix.ld == matrix.cols || matrix.dtype == DType::kInt4);
  return BytesOf(matrix.dtype, matrix.rows * matrix.ld);
}

// Places pieces in an arena and, once that has memory, sends their contents.
class Sender {
 public:
  Sender() = default;  // measures
  Sender(std::byte* memory, const LoadProgress& progress, uint64_t total_bytes)
      : arena_(memory), progress_(progress), total_bytes_(total_bytes) {
    upload_.emplace(std::min<size_t>(kPieceBytes, total_bytes));
  }

  template <typename T>
  const T* Array(const std::vector<T>& from) {
    return reinterpret_cast<const T*>(
        Bytes(from.data(), static_cast<int64_t>(from.size() * sizeof(T))));
  }
  // As it is stored, with its scales.
  WeightView Matrix(WeightView matrix) {
    if (!matrix) return matrix;
    matrix.data = Bytes(matrix.data, StoredBytes(matrix));
    if (matrix.scales.data != nullptr) matrix.scales = Scales(matrix);
    return matrix;
  }
  MlpWeights Mlp(const MlpWeights& mlp) {
    return {Matrix(mlp.gate), Matrix(mlp.up), Matrix(mlp.down)};
  }
  void Experts(const std::vector<MlpWeights>& experts, DeviceLayer* layer) {
    std::vector<WeightView> gate, up, down;
    for (const MlpWeights& expert : experts) {
      const MlpWeights mlp = Mlp(expert);
      gate.push_back(mlp.gate);
      up.push_back(mlp.up);
      down.push_back(mlp.down);
    }
    layer->expert_gate = Table(gate);
    layer->expert_up = Table(up);
    layer->expert_down = Table(down);
  }

  size_t bytes() const { return arena_.bytes(); }
  void Finish() { upload_->Finish(); }

 private:
  cuda::ExpertMatrices Table(const std::vector<WeightView>& views) {
    if (views.empty()) return {};
    return {Array(views), views[0].rows, views[0].cols, views[0].dtype};
  }
  // The rows of scales that the matrix needs.
  WeightScales Scales(const WeightView& matrix) {
    WeightScales scales = matrix.scales;
    const int64_t first = scales.first_row / scales.block_rows;
    const int64_t last = (scales.first_row + matrix.rows - 1) / scales.block_rows;
    scales.data =
        Bytes(static_cast<const std::byte*>(scales.data) + BytesOf(scales.dtype, first * scales.ld),
              BytesOf(scales.dtype, (last + 1 - first) * scales.ld));
    scales.first_row -= first * scales.block_rows;
    return scales;
  }
  const std::byte* Bytes(const void* from, int64_t count) {
    auto* const to = arena_.Take<std::byte>(count);
    if (to == nullptr) return nullptr;
    upload_->Send(to, from, static_cast<size_t>(count));
    if (progress_) progress_(arena_.bytes(), total_bytes_);
    return to;
  }

  DeviceArena arena_;
  std::optional<StagedUpload> upload_;
  LoadProgress progress_;
  uint64_t total_bytes_ = 0;
};

DeviceLayer PlaceLayer(const LayerWeights& w, const ModelConfig& config, Sender& sender) {
  DeviceLayer layer;
  layer.input_norm = sender.Array(w.input_norm);
  layer.post_attention_norm = sender.Array(w.post_attention_norm);
  layer.q_proj = sender.Matrix(w.q_proj);
  layer.q_a_proj = sender.Matrix(w.q_a_proj);
  layer.q_b_proj = sender.Matrix(w.q_b_proj);
  layer.kv_a_proj = sender.Matrix(w.kv_a_proj);
  layer.kv_b_proj = sender.Matrix(w.kv_b_proj);
  layer.o_proj = sender.Matrix(w.o_proj);
  layer.q_a_bias = sender.Array(w.q_a_bias);
  layer.q_a_norm = sender.Array(w.q_a_norm);
  layer.kv_a_bias = sender.Array(w.kv_a_bias);
  layer.kv_a_norm = sender.Array(w.kv_a_norm);
  layer.o_bias = sender.Array(w.o_bias);
  if (config.key_norm != KeyNorm::kNone) {
    const QueryNorm norm = QueryNormOf(w);
    layer.query_content_norm = sender.Array(norm.content);
    layer.query_rope_norm = sender.Array(norm.rope);
    layer.query_unified_norm = sender.Array(norm.unified);
    layer.k_rope_norm = sender.Array(w.k_rope_norm);
  }
  layer.mlp = sender.Mlp(w.mlp);
  layer.shared_expert = sender.Mlp(w.shared_expert);
  if (!w.router_weight.empty()) {
    layer.router_weight = {sender.Array(w.router_weight), DType::kF32,
                           config.moe->router.num_experts, config.hidden_size, config.hidden_size};
  }
  layer.router_bias = sender.Array(w.router_bias);
  sender.Experts(w.experts, &layer);
  return layer;
}

void Place(const Weights& weights, const ModelConfig& config, Sender& sender, DeviceWeights* to) {
  to->embedding = sender.Matrix(weights.embedding);
  const bool tied = weights.lm_head.data == weights.embedding.data;
  to->lm_head = tied ? to->embedding : sender.Matrix(weights.lm_head);
  to->final_norm = sender.Array(weights.final_norm);
  to->layers.clear();
  for (const LayerWeights& layer : weights.layers) {
    to->layers.push_back(PlaceLayer(layer, config, sender));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<const DeviceWeights>> DeviceWeights::Upload(
    const ModelConfig& config, const Weights& weights, const LoadProgress& progress) {
  if (absl::Status status = CheckDeviceServes(config); !status.ok()) return status;
  auto device = std::make_unique<DeviceWeights>();
  Sender measure;
  Place(weights, config, measure, device.get());
  const uint64_t free_bytes = cuda::QueryDevice().free_bytes;
  device->memory_ = cuda::DeviceBuffer::TryMake(measure.bytes());
  if (device->memory_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the weights take ", measure.bytes(), " bytes of the device's memory, of which ",
        free_bytes, " are free; use a smaller model, a larger device, or --device cpu"));
  }
  Sender sender(device->memory_->data(), progress, measure.bytes());
  Place(weights, config, sender, device.get());
  sender.Finish();
  return device;
}

}  // namespace latentd
