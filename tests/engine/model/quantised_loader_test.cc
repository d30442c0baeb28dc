// Folders with quantised matrices: what the loaded views are worth.
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/model/loader.h"
#include "kernels/dequantise.h"
#include "tests/engine/model/quantised_folder.h"

namespace latentd {
namespace {

constexpr char kMlp[] = "model.layers.0.mlp.";
constexpr char kExperts[] = "model.layers.1.mlp.experts.";
constexpr char kAttention[] = "model.layers.0.self_attn.";

std::unique_ptr<const Model> Load(const TestModel& model, const LoadOptions& options = {}) {
  const TempFolder folder;
  model.Write(folder);
  auto loaded = LoadModel(folder.path(), options);
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

// Rows `first` … of the values that a tensor is worth.
void RequireWorth(const WeightView& view, const std::vector<double>& worth, int64_t first = 0) {
  REQUIRE(IsQuantised(view.dtype));
  std::vector<float> row(static_cast<size_t>(view.cols));
  for (int64_t i = 0; i < view.rows; ++i) {
    DequantiseRow(view, i, row.data());
    for (int64_t k = 0; k < view.cols; ++k) {
      INFO("row " << i << " column " << k);
      REQUIRE(row[static_cast<size_t>(k)] ==
              static_cast<float>(worth[static_cast<size_t>((first + i) * view.cols + k)]));
    }
  }
}

// The matrix of one layer-0 MLP with another number of units, so that blocks are cut.
void WidenMlp(TestModel* model, int64_t units) {
  model->config["intermediate_size"] = units;
  for (const char* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
    TestTensor& tensor = model->Find(std::string(kMlp) + name);
    for (int64_t& dim : tensor.shape) dim = dim == 24 ? units : dim;
    tensor.values.assign(static_cast<size_t>(NumElements(tensor)), 0.5f);
  }
}

TEST_CASE("fp8 matrices load as they are stored", "[quantised]") {
  TestModel model = MakeDeepseekV3();
  WidenMlp(&model, 200);
  model.config["quantization_config"] = Fp8Config();
  const auto gate = QuantiseFp8(&model, std::string(kMlp) + "gate_proj.weight");
  const auto down = QuantiseFp8(&model, std::string(kMlp) + "down_proj.weight");
  const auto expert = QuantiseFp8(&model, std::string(kExperts) + "3.up_proj.weight");
  const auto head = QuantiseFp8(&model, "lm_head.weight");
  const auto loaded = Load(model);
  const LayerWeights& first = loaded->weights.layers[0];
  CHECK(first.mlp.gate.scales.block_rows == 128);
  RequireWorth(first.mlp.gate, gate);
  RequireWorth(first.mlp.down, down);
  CHECK(first.mlp.up.dtype == DType::kF32);
  RequireWorth(loaded->weights.layers[1].experts[3].up, expert);
  RequireWorth(loaded->weights.lm_head, head);
  // Scales are no parameters.
  TestModel plain = MakeDeepseekV3();
  WidenMlp(&plain, 200);
  CHECK(loaded->weights.num_parameters == Load(plain)->weights.num_parameters);
}

TEST_CASE("fused fp8 experts are cut inside a block of scales", "[quantised]") {
  TestModel model = MakeDeepseekV3();
  model.config["quantization_config"] = Fp8Config();
  model.config["moe_intermediate_size"] = 100;  // up begins in the middle of gate's block
  const std::string prefix = kExperts;
  for (int e = 0; e < 4; ++e) {
    for (const char* name : {".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"}) {
      model.Remove(prefix + std::to_string(e) + name);
    }
  }
  for (const char* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
    TestTensor& tensor = model.Find(std::string("model.layers.1.mlp.shared_experts.") + name);
    for (int64_t& dim : tensor.shape) dim = dim == 16 ? 200 : dim;
    tensor.values.assign(static_cast<size_t>(NumElements(tensor)), 0.5f);
  }
  model.tensors.push_back({prefix + "gate_up_proj", {4, 200, 32}, "F32", {}, {}});
  model.tensors.push_back({prefix + "down_proj", {4, 32, 100}, "F32", {}, {}});
  const auto gate_up = QuantiseFp8(&model, prefix + "gate_up_proj");
  const auto down = QuantiseFp8(&model, prefix + "down_proj");
  const auto loaded = Load(model);
  const auto& experts = loaded->weights.layers[1].experts;
  REQUIRE(experts.size() == 4);
  for (int64_t e = 0; e < 4; ++e) {
    const MlpWeights& expert = experts[static_cast<size_t>(e)];
    RequireWorth(expert.gate, gate_up, e * 200);
    RequireWorth(expert.up, gate_up, e * 200 + 100);
    RequireWorth(expert.down, down, e * 32);
  }
}

TEST_CASE("packed int4 matrices load as they are stored", "[quantised]") {
  TestModel model = MakeDeepseekV3();
  model.config["quantization_config"] = Int4Config();
  const auto gate = QuantiseInt4(&model, std::string(kMlp) + "gate_proj.weight");
  const auto expert = QuantiseInt4(&model, std::string(kExperts) + "2.gate_proj.weight");
  const auto loaded = Load(model);
  RequireWorth(loaded->weights.layers[0].mlp.gate, gate);
  RequireWorth(loaded->weights.layers[1].experts[2].gate, expert);
  CHECK(loaded->weights.layers[0].mlp.up.dtype == DType::kF32);
  CHECK(loaded->weights.num_parameters == Load(MakeDeepseekV3())->weights.num_parameters);

  TestModel wide = MakeDeepseekV3();
  WidenMlp(&wide, 256);
  wide.config["quantization_config"] = Int4Config(64);
  const auto down = QuantiseInt4(&wide, std::string(kMlp) + "down_proj.weight", 64);
  RequireWorth(Load(wide)->weights.layers[0].mlp.down, down);
}

TEST_CASE("kv_b_proj is dequantised at load, exactly", "[quantised]") {
  for (const bool power_of_two : {false, true}) {
    TestModel model = MakeDeepseekV3();
    model.config["quantization_config"] = Fp8Config();
    const auto worth =
        QuantiseFp8(&model, std::string(kAttention) + "kv_b_proj.weight", power_of_two);
    const auto loaded = Load(model);
    const WeightView& kv_b = loaded->weights.layers[0].kv_b_proj;
    REQUIRE(kv_b.dtype == (power_of_two ? DType::kBF16 : DType::kF32));
    for (size_t i = 0; i < worth.size(); ++i) {
      const float value = power_of_two ? ToFloat(static_cast<const bf16*>(kv_b.data)[i])
                                       : static_cast<const float*>(kv_b.data)[i];
      REQUIRE(value == static_cast<float>(worth[i]));
    }
    // To describe the folder nothing is dequantised.
    const auto described = Load(model, {.progress = {}, .describe_only = true});
    CHECK(described->weights.layers[0].kv_b_proj.dtype == DType::kE4M3);
    CHECK(described->weights.layers[1].router_weight.empty());
    CHECK(described->weights.num_parameters == loaded->weights.num_parameters);
  }
}

TEST_CASE("scales that are no numbers are loaded as they are", "[quantised]") {
  TestModel model = MakeDeepseekV3();
  model.config["quantization_config"] = Fp8Config();
  for (const char* name : {"o_proj.weight", "kv_b_proj.weight"}) {
    QuantiseFp8(&model, std::string(kAttention) + name);
  }
  model.Find(std::string(kAttention) + "o_proj.weight_scale_inv").values[0] = std::nanf("");
  model.Find(std::string(kAttention) + "kv_b_proj.weight_scale_inv").values[0] = INFINITY;
  const auto loaded = Load(model);
  std::vector<float> row(32);
  DequantiseRow(loaded->weights.layers[0].o_proj, 0, row.data());
  CHECK(std::isnan(row[0]));
}

}  // namespace
}  // namespace latentd
