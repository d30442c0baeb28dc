// Weights on their way to the (emulated) device.
#include <catch2/catch.hpp>
#include <cstring>

#include "engine/cuda/cuda_executor.h"
#include "engine/cuda/device_weights.h"
#include "engine/cuda/staged_upload.h"
#include "tests/engine/model/model_runner.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

// The device has so much for one test.
class DeviceOf {
 public:
  explicit DeviceOf(uint64_t bytes) { cuda::SetEmulatedMemory(bytes); }
  ~DeviceOf() { cuda::SetEmulatedMemory(uint64_t{1} << 30); }
};

bool SameBytes(const WeightView& a, const WeightView& b) {
  return a.rows == b.rows && a.cols == b.cols && a.dtype == b.dtype &&
         std::memcmp(a.data, b.data, static_cast<size_t>(BytesOf(a.dtype, a.rows * a.ld))) == 0;
}

StepLimits SmallLimits() {
  return {.max_rows = 8, .max_sequences = 2, .max_context = 64, .partial_bytes = 0};
}

}  // namespace

TEST_CASE("weights arrive on the device, in pieces that begin on 256 bytes") {
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    const RandomModel model = MakeRandomModel(Geometry(), 1, dtype);
    uint64_t done = 0, total = 0;
    const auto device =
        DeviceWeights::Upload(model.config, model.weights, [&](uint64_t now, uint64_t all) {
          CHECK(now > done);
          done = now;
          total = all;
        });
    REQUIRE(device.ok());
    CHECK(done == (*device)->bytes());
    CHECK(total == (*device)->bytes());
    CHECK(SameBytes((*device)->lm_head, model.weights.lm_head));
    for (size_t i = 0; i < model.weights.layers.size(); ++i) {
      const LayerWeights& from = model.weights.layers[i];
      const DeviceLayer& to = (*device)->layers[i];
      CHECK(SameBytes(to.kv_b_proj, from.kv_b_proj));
      CHECK(SameBytes(to.mlp.down, from.mlp.down));
      CHECK(std::memcmp(to.q_a_norm, from.q_a_norm.data(), from.q_a_norm.size() * 4) == 0);
      CHECK(reinterpret_cast<uintptr_t>(to.mlp.down.data) % 256 == 0);
      CHECK(to.o_bias == nullptr);
    }
  }
  CHECK(cuda::EmulatedBytesInUse() == 0);
}

TEST_CASE("a tied head is sent once") {
  RandomModel model = MakeRandomModel(Geometry(), 2);
  const auto untied = DeviceWeights::Upload(model.config, model.weights, {});
  model.weights.lm_head = model.weights.embedding;
  const auto tied = DeviceWeights::Upload(model.config, model.weights, {});
  CHECK((*tied)->lm_head.data == (*tied)->embedding.data);
  const int64_t bytes = BytesOf(DType::kF32, model.config.vocab_size * model.config.hidden_size);
  CHECK((*untied)->bytes() - (*tied)->bytes() == static_cast<uint64_t>((bytes + 255) / 256 * 256));
}

TEST_CASE("weights that do not fit are refused with the numbers") {
  const RandomModel model = MakeRandomModel(Geometry(), 3);
  const uint64_t bytes = (*DeviceWeights::Upload(model.config, model.weights, {}))->bytes();
  {
    const DeviceOf small(bytes - 1);
    const auto refused = DeviceWeights::Upload(model.config, model.weights, {});
    CHECK(refused.status() ==
          absl::ResourceExhaustedError(absl::StrCat(
              "the weights take ", bytes, " bytes of the device's memory, of which ", bytes - 1,
              " are free; use a smaller model, a larger device, or --device cpu")));
    CHECK(cuda::EmulatedBytesInUse() == 0);
  }
  const DeviceOf enough(bytes);
  CHECK(DeviceWeights::Upload(model.config, model.weights, {}).ok());
}

TEST_CASE("a cache that does not fit beside the weights is refused with the numbers") {
  const RandomModel model = MakeRandomModel(Geometry(), 4);
  const ModelConfig& config = model.config;
  const BlockLayout layout = BlockLayout::Make(config.num_layers, config.kv_lora_rank,
                                               config.qk_rope_head_dim, config.num_alphas());
  const auto weights = DeviceWeights::Upload(config, model.weights, {});
  const int64_t work = CudaExecutor::WorkBytes(config, layout, SmallLimits());
  const auto all = static_cast<int64_t>((*weights)->bytes()) + work + layout.block_bytes;
  const auto make = [&] {
    return CudaExecutor::Create(config, **weights, layout, SmallLimits(), layout.block_bytes);
  };
  {
    const DeviceOf small(static_cast<uint64_t>(all - 1));
    const absl::Status refused = make().status();
    CHECK(refused.code() == absl::StatusCode::kResourceExhausted);
    CHECK(std::string(refused.message())
              .find(absl::StrCat("a cache of ", layout.block_bytes, " bytes and ", work,
                                 " bytes for a step")) == 0);
  }
  const DeviceOf enough(static_cast<uint64_t>(all));
  CHECK(make().ok());
}

TEST_CASE("what no kernel takes is refused by its key") {
  RandomModel model = MakeRandomModel(Geometry(), 5);
  const auto refusal = [&] {
    const auto status = DeviceWeights::Upload(model.config, model.weights, {}).status();
    CHECK(status.code() == absl::StatusCode::kUnimplemented);
    return std::string(status.message());
  };
  model.config.kv_lora_rank = 513;
  CHECK(refusal() ==
        "kv_lora_rank 513 is beyond the 512 that the CUDA attention takes; use --device cpu");
  model.config = Geometry();
  model.config.qk_rope_head_dim = 66;
  CHECK(refusal() ==
        "qk_rope_head_dim 66 is beyond the 64 that the CUDA attention takes; use --device cpu");
  model.config = Geometry();
  model.config.vocab_size = 1 << 24;
  CHECK(refusal() ==
        "vocab_size 16777216 is beyond the 16777215 that the CUDA sampler takes; use --device cpu");

  const BlockLayout int8 = BlockLayout::Make(2, 40, 8, 0, CacheFormat::kInt8);
  model = MakeRandomModel(Geometry(), 6);
  const auto weights = DeviceWeights::Upload(model.config, model.weights, {});
  CHECK(CudaExecutor::Create(model.config, **weights, int8, SmallLimits(), int8.block_bytes)
            .status()
            .code() == absl::StatusCode::kUnimplemented);
}

TEST_CASE("a staged upload may reuse its source at once") {
  cuda::DeviceBuffer to(1000);
  std::vector<std::byte> expected;
  StagedUpload upload(64);
  for (size_t at = 0, count = 1; at < 1000; at += count, count = std::min(count * 3, 1000 - at)) {
    std::vector<std::byte> from(count, static_cast<std::byte>(count));
    expected.insert(expected.end(), from.begin(), from.end());
    upload.Send(to.data() + at, from.data(), count);
    std::fill(from.begin(), from.end(), std::byte{0});
  }
  upload.Finish();
  std::vector<std::byte> got(1000);
  to.Download(got.data());
  CHECK(got == expected);
}

}  // namespace latentd
