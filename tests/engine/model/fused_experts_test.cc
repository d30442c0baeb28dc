// Fused experts beside identity experts, which have no weights but take room in one of the tensors.
#include <catch2/catch.hpp>

#include "engine/model/loader.h"
#include "kernels/dequantise.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

constexpr int64_t kWeighted = 4, kIdentity = 2, kUnits = 8, kHidden = 32;

// The dense model's two layers under the names of one LongCat layer.
std::string DoubleLayerName(std::string name) {
  const std::string layers = "model.layers.";
  if (name.rfind(layers, 0) != 0) return name;
  const char half = name[layers.size()];
  name[layers.size()] = '0';
  for (const std::string part :
       {"self_attn.", "mlp.", "input_layernorm.", "attention_layernorm."}) {
    const size_t at = name.find(part, layers.size());
    if (at != std::string::npos) name.insert(at + part.size(), std::string{half, '.'});
  }
  const size_t mlp = name.find(".mlp.");
  return mlp == std::string::npos ? name : name.replace(mlp, 5, ".mlps.");
}

void Add(TestModel* model, const std::string& name, std::vector<int64_t> shape) {
  TestTensor tensor{name, std::move(shape), "F32", {}, {}};
  for (int64_t i = 0; i < NumElements(tensor); ++i) tensor.values.push_back(static_cast<float>(i));
  model->tensors.push_back(std::move(tensor));
}

TestModel MakeFusedLongcat(int64_t gate_up_rows) {
  TestModel model = MakeLatentMla();
  model.config["model_type"] = "longcat_flash";
  model.config["ffn_hidden_size"] = model.config["intermediate_size"];
  model.config["num_layers"] = 1;
  model.config.erase("intermediate_size");
  model.config.erase("num_hidden_layers");
  model.config.update(nlohmann::json{{"n_routed_experts", kWeighted},
                                     {"zero_expert_num", kIdentity},
                                     {"zero_expert_type", "identity"},
                                     {"expert_ffn_hidden_size", kUnits},
                                     {"moe_topk", 3}});
  for (TestTensor& tensor : model.tensors) tensor.name = DoubleLayerName(tensor.name);
  const std::string mlp = "model.layers.0.mlp.";
  Add(&model, mlp + "router.classifier.weight", {kWeighted + kIdentity, kHidden});
  Add(&model, mlp + "router.e_score_correction_bias", {kWeighted + kIdentity});
  Add(&model, mlp + "experts.gate_up_proj", {gate_up_rows, 2 * kUnits, kHidden});
  Add(&model, mlp + "experts.down_proj", {kWeighted, kHidden, kUnits});
  return model;
}

TEST_CASE("fused experts leave the rows of identity experts aside", "[loader]") {
  const TempFolder folder;
  MakeFusedLongcat(kWeighted + kIdentity).Write(folder);
  const auto model = LoadModel(folder.path());
  INFO(model.status().message());
  REQUIRE(model.ok());
  const std::vector<MlpWeights>& experts = (*model)->weights.layers[0].experts;
  REQUIRE(experts.size() == kWeighted);
  for (int64_t e = 0; e < kWeighted; ++e) {
    const MlpWeights& expert = experts[static_cast<size_t>(e)];
    const auto first = [](const WeightView& view) { return *static_cast<const float*>(view.data); };
    CHECK(first(expert.gate) == static_cast<float>(e * 2 * kUnits * kHidden));
    CHECK(first(expert.up) == static_cast<float>((e * 2 + 1) * kUnits * kHidden));
    CHECK(first(expert.down) == static_cast<float>(e * kUnits * kHidden));
  }
}

TEST_CASE("fused experts become int8 one by one, without those that have no weights", "[int8]") {
  const TempFolder folder;
  MakeFusedLongcat(kWeighted + kIdentity).Write(folder);
  const auto stored = LoadModel(folder.path());
  LoadOptions options;
  options.copies = WeightCopies::kInt8;
  const auto model = LoadModel(folder.path(), options);
  REQUIRE((stored.ok() && model.ok()));
  for (int64_t e = 0; e < kWeighted; ++e) {
    const auto expert = [e](const auto& loaded) {
      return (*loaded)->weights.layers[0].experts[static_cast<size_t>(e)];
    };
    const MlpWeights int8 = expert(model), plain = expert(stored);
    const std::pair<WeightView, WeightView> pairs[] = {
        {int8.gate, plain.gate}, {int8.up, plain.up}, {int8.down, plain.down}};
    for (const auto& [is, was] : pairs) {
      REQUIRE(is.dtype == DType::kInt8);
      std::vector<float> row(static_cast<size_t>(is.cols));
      DequantiseRow(is, is.rows - 1, row.data());
      const float last = static_cast<const float*>(was.data)[was.rows * was.cols - 1];
      CHECK(row.back() == Approx(last));  // the largest of its group: 127 steps
    }
  }
  // Two layers of attention and MLP, four experts, the head.
  CHECK_THAT((*model)->notes.at(0), Catch::StartsWith("27 matrices are served as int8"));
}

TEST_CASE("fused experts of another number are refused", "[loader]") {
  const TempFolder folder;
  MakeFusedLongcat(kWeighted).Write(folder);
  const auto model = LoadModel(folder.path());
  REQUIRE_FALSE(model.ok());
  CHECK_THAT(std::string(model.status().message()),
             Catch::Contains("experts.gate_up_proj' has the shape [4, 16, 32], but config.json "
                             "makes it [6, 16, 32]"));
}

}  // namespace
}  // namespace latentd
