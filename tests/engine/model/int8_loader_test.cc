// Models loaded with int8 weights: which matrices become int8, what they are worth, what is said.
#include <catch2/catch.hpp>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/model/loader.h"
#include "kernels/dequantise.h"
#include "kernels/quantise.h"
#include "tests/engine/model/quantised_folder.h"

namespace latentd {
namespace {

std::unique_ptr<const Model> Load(const TestModel& model, bool int8, bool describe_only = false) {
  const TempFolder folder;
  model.Write(folder);
  LoadOptions options;
  options.int8_weights = int8;
  options.describe_only = describe_only;
  auto loaded = LoadModel(folder.path(), options);
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

// What has become int8: number of matrices and bytes.
struct Copies {
  int64_t count = 0, bytes = 0;

  void Expect(const WeightView& int8, const WeightView& stored) {
    REQUIRE(static_cast<bool>(int8) == static_cast<bool>(stored));
    if (!stored) return;
    REQUIRE(int8.dtype == DType::kInt8);
    REQUIRE((int8.rows == stored.rows && int8.cols == stored.cols));
    std::vector<std::byte> bytes_here(static_cast<size_t>(Int8Bytes(stored.rows, stored.cols)));
    const WeightView expected = QuantiseToInt8(stored, bytes_here.data());
    std::vector<float> row(static_cast<size_t>(stored.cols)), expected_row(row.size());
    for (int64_t i = 0; i < stored.rows; ++i) {
      DequantiseRow(int8, i, row.data());
      DequantiseRow(expected, i, expected_row.data());
      REQUIRE(row == expected_row);
    }
    ++count;
    bytes += std::ssize(bytes_here);
  }
  void Expect(const MlpWeights& int8, const MlpWeights& stored) {
    Expect(int8.gate, stored.gate);
    Expect(int8.up, stored.up);
    Expect(int8.down, stored.down);
  }
};

void RequireAsStored(const WeightView& view, const WeightView& stored) {
  REQUIRE(view.dtype == stored.dtype);
  const auto bytes = static_cast<size_t>(BytesOf(stored.dtype, stored.rows * stored.cols));
  REQUIRE(std::memcmp(view.data, stored.data, bytes) == 0);
}

TEST_CASE("projections, experts and the head become int8, and nothing else", "[int8]") {
  for (TestModel& test : std::vector<TestModel>{MakeLatentMla("blockwise"), MakeDeepseekV3()}) {
    test.SetDType("BF16");
    const auto stored = Load(test, false), model = Load(test, true);
    const Weights &was = stored->weights, &is = model->weights;
    CHECK((is.int8 && !was.int8));
    RequireAsStored(is.embedding, was.embedding);
    Copies copies;
    copies.Expect(is.lm_head, was.lm_head);
    for (size_t i = 0; i < was.layers.size(); ++i) {
      const LayerWeights &a = is.layers[i], &b = was.layers[i];
      RequireAsStored(a.kv_b_proj, b.kv_b_proj);
      CHECK(a.router_weight == b.router_weight);
      CHECK(a.kv_a_norm == b.kv_a_norm);
      copies.Expect(a.q_a_proj, b.q_a_proj);
      copies.Expect(a.q_b_proj, b.q_b_proj);
      copies.Expect(a.kv_a_proj, b.kv_a_proj);
      copies.Expect(a.o_proj, b.o_proj);
      copies.Expect(a.mlp, b.mlp);
      copies.Expect(a.shared_expert, b.shared_expert);
      REQUIRE(a.experts.size() == b.experts.size());
      for (size_t e = 0; e < a.experts.size(); ++e) copies.Expect(a.experts[e], b.experts[e]);
    }
    CHECK(model->notes == std::vector<std::string>{
                              absl::StrCat(copies.count, " matrices are served as int8 copies of ",
                                           copies.bytes, " bytes in all")});
    CHECK(is.num_parameters == was.num_parameters);
    CHECK(is.num_bytes == was.num_bytes);
  }
}

TEST_CASE("a tied embedding stays and lends the head its int8 copy", "[int8]") {
  const TestModel test = MakeYoutu();
  const auto stored = Load(test, false), model = Load(test, true);
  RequireAsStored(model->weights.embedding, stored->weights.embedding);
  Copies copies;
  copies.Expect(model->weights.lm_head, stored->weights.embedding);
}

TEST_CASE("matrices that are stored quantised stay as they are", "[int8]") {
  TestModel test = MakeDeepseekV3();
  test.config["quantization_config"] = Fp8Config();
  const std::string layer = "model.layers.0.";
  for (const char* name : {"mlp.gate_proj.weight", "self_attn.kv_b_proj.weight"}) {
    QuantiseFp8(&test, layer + name);
  }
  const auto model = Load(test, true);
  const LayerWeights& first = model->weights.layers[0];
  CHECK(first.mlp.gate.dtype == DType::kE4M3);
  CHECK(first.mlp.up.dtype == DType::kInt8);
  CHECK(first.kv_b_proj.dtype == DType::kF32);  // dequantised, as without int8
  REQUIRE(model->notes.size() == 2);
  CHECK(model->notes[1] == "1 matrices are stored quantised and served as they are");
}

TEST_CASE("to describe a folder nothing becomes int8", "[int8]") {
  const auto model = Load(MakeDeepseekV3(), true, /*describe_only=*/true);
  CHECK(model->weights.layers[0].mlp.gate.dtype == DType::kF32);
}

TEST_CASE("int8 copies of random weights count into the memory given", "[int8]") {
  const std::string config = MakeLatentMla().config.dump();
  const auto stored = MakeRandomModel(config, 1, 1 << 30);
  REQUIRE(stored.ok());
  const uint64_t bytes = (*stored)->weights.num_bytes;
  CHECK(absl::IsResourceExhausted(MakeRandomModel(config, 1, bytes, true).status()));
  const auto model = MakeRandomModel(config, 1, 2 * bytes, true);
  REQUIRE(model.ok());
  Copies copies;
  copies.Expect((*model)->weights.layers[1].mlp, (*stored)->weights.layers[1].mlp);
}

}  // namespace
}  // namespace latentd
