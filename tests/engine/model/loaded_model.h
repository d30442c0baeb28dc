// Loads a test's folder and compares what came of it with what was written.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "engine/model/loader.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {

inline std::unique_ptr<const Model> Load(const TempFolder& folder,
                                         const LoadProgress& progress = {}) {
  auto loaded = LoadModel(folder.path(), {.progress = progress});
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

inline std::unique_ptr<const Model> Load(const TestModel& model) {
  const TempFolder folder;
  model.Write(folder);
  return Load(folder);
}

inline float Element(const WeightView& view, int64_t row, int64_t col) {
  const auto index = static_cast<size_t>(row * view.ld + col);
  switch (view.dtype) {
    case DType::kF32:
      return static_cast<const float*>(view.data)[index];
    case DType::kF16:
      return ToFloat(static_cast<const f16*>(view.data)[index]);
    case DType::kBF16:
      return ToFloat(static_cast<const bf16*>(view.data)[index]);
    case DType::kE4M3:
    case DType::kInt4:
    case DType::kInt8:
    case DType::kInt4Blocks:
      FAIL("a quantised matrix");
  }
  return 0;
}

// Every element of the view, row by row.
inline std::vector<float> Values(const WeightView& view) {
  std::vector<float> values;
  for (int64_t i = 0; i < view.rows; ++i) {
    for (int64_t j = 0; j < view.cols; ++j) values.push_back(Element(view, i, j));
  }
  return values;
}

inline void CheckAttention(const LayerWeights& layer, TestModel& model, const std::string& prefix) {
  const auto values = [&](const char* name) { return model.Find(prefix + name).values; };
  CHECK(Values(layer.q_a_proj) == values("self_attn.q_a_proj.weight"));
  CHECK(layer.q_a_norm == values("self_attn.q_a_layernorm.weight"));
  CHECK(Values(layer.q_b_proj) == values("self_attn.q_b_proj.weight"));
  CHECK(Values(layer.kv_a_proj) == values("self_attn.kv_a_proj_with_mqa.weight"));
  CHECK(layer.kv_a_norm == values("self_attn.kv_a_layernorm.weight"));
  CHECK(Values(layer.kv_b_proj) == values("self_attn.kv_b_proj.weight"));
  CHECK(Values(layer.o_proj) == values("self_attn.o_proj.weight"));
  CHECK(layer.input_norm == values("input_layernorm.weight"));
  CHECK(layer.post_attention_norm == values("post_attention_layernorm.weight"));
}

inline void CheckMlp(const MlpWeights& mlp, TestModel& model, const std::string& prefix) {
  CHECK(Values(mlp.gate) == model.Find(prefix + "gate_proj.weight").values);
  CHECK(Values(mlp.up) == model.Find(prefix + "up_proj.weight").values);
  CHECK(Values(mlp.down) == model.Find(prefix + "down_proj.weight").values);
}

inline int64_t TotalElements(const TestModel& model) {
  int64_t elements = 0;
  for (const TestTensor& tensor : model.tensors) elements += NumElements(tensor);
  return elements;
}

}  // namespace latentd
