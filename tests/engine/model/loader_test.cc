#include "engine/model/loader.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

using nlohmann::json;

std::unique_ptr<const Model> Load(const TempFolder& folder, const LoadProgress& progress = {}) {
  auto loaded = LoadModel(folder.path(), {.progress = progress});
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

std::unique_ptr<const Model> Load(const TestModel& model) {
  const TempFolder folder;
  model.Write(folder);
  return Load(folder);
}

float Element(const WeightView& view, int64_t row, int64_t col) {
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
      FAIL("a quantised matrix");
  }
  return 0;
}

// Every element of the view, row by row.
std::vector<float> Values(const WeightView& view) {
  std::vector<float> values;
  for (int64_t i = 0; i < view.rows; ++i) {
    for (int64_t j = 0; j < view.cols; ++j) values.push_back(Element(view, i, j));
  }
  return values;
}

void CheckAttention(const LayerWeights& layer, TestModel& model, const std::string& prefix) {
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

void CheckMlp(const MlpWeights& mlp, TestModel& model, const std::string& prefix) {
  CHECK(Values(mlp.gate) == model.Find(prefix + "gate_proj.weight").values);
  CHECK(Values(mlp.up) == model.Find(prefix + "up_proj.weight").values);
  CHECK(Values(mlp.down) == model.Find(prefix + "down_proj.weight").values);
}

int64_t TotalElements(const TestModel& model) {
  int64_t elements = 0;
  for (const TestTensor& tensor : model.tensors) elements += NumElements(tensor);
  return elements;
}

}  // namespace

TEST_CASE("every family loads in every dtype, values intact", "[loader]") {
  for (const std::string dtype : {"F32", "F16", "BF16"}) {
    for (TestModel model : {MakeLatentMla(), MakeDeepseekV3(), MakeYoutu()}) {
      INFO(model.config["model_type"] << " in " << dtype);
      model.SetDType(dtype);
      const auto loaded = Load(model);
      const Weights& weights = loaded->weights;
      CHECK(Values(weights.embedding) == model.Find("model.embed_tokens.weight").values);
      CHECK(weights.final_norm == model.Find("model.norm.weight").values);
      REQUIRE(weights.layers.size() == 2);
      CheckAttention(weights.layers[0], model, "model.layers.0.");
      CheckAttention(weights.layers[1], model, "model.layers.1.");
      CheckMlp(weights.layers[0].mlp, model, "model.layers.0.mlp.");
      CHECK(weights.num_parameters == static_cast<uint64_t>(TotalElements(model)));
      CHECK(weights.num_bytes == weights.num_parameters * (dtype == "F32" ? 4 : 2));
      CHECK(loaded->notes.empty());
      CHECK_FALSE(weights.layers[0].q_proj);
      CHECK(weights.layers[0].k_content_norm.empty());
      CHECK(weights.layers[0].o_bias.empty());
    }
  }
}

TEST_CASE("matrices are views of one dtype each; dtypes may differ", "[loader]") {
  TestModel model = MakeLatentMla();
  model.Find("model.layers.0.self_attn.kv_b_proj.weight").dtype = "BF16";
  model.Find("model.layers.0.mlp.up_proj.weight").dtype = "F16";
  const auto loaded = Load(model);
  const LayerWeights& layer = loaded->weights.layers[0];
  CHECK(layer.kv_b_proj.dtype == DType::kBF16);
  CHECK(layer.mlp.up.dtype == DType::kF16);
  CHECK(layer.mlp.gate.dtype == DType::kF32);
  CHECK(layer.mlp.up.ld == 32);
  CheckAttention(layer, model, "model.layers.0.");
}

TEST_CASE("expert layers", "[loader]") {
  TestModel model = MakeDeepseekV3();
  const auto loaded = Load(model);
  const LayerWeights& layer = loaded->weights.layers[1];
  CHECK_FALSE(layer.mlp.gate);
  CHECK(layer.router_weight == model.Find("model.layers.1.mlp.gate.weight").values);
  CHECK(layer.router_bias == model.Find("model.layers.1.mlp.gate.e_score_correction_bias").values);
  REQUIRE(layer.experts.size() == 4);
  for (int e = 0; e < 4; ++e) {
    CheckMlp(layer.experts[static_cast<size_t>(e)], model,
             "model.layers.1.mlp.experts." + std::to_string(e) + ".");
  }
  CheckMlp(layer.shared_expert, model, "model.layers.1.mlp.shared_experts.");
}

TEST_CASE("fused experts give the same views as single ones", "[loader]") {
  TestModel model = MakeDeepseekV3();
  TestModel fused = MakeDeepseekV3();
  TestTensor gate_up{"model.layers.1.mlp.experts.gate_up_proj", {4, 16, 32}, "F32", {}};
  TestTensor down{"model.layers.1.mlp.experts.down_proj", {4, 32, 8}, "F32", {}};
  for (int e = 0; e < 4; ++e) {
    const std::string prefix = "model.layers.1.mlp.experts." + std::to_string(e) + ".";
    for (const char* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
      const std::vector<float>& values = model.Find(prefix + name).values;
      TestTensor& target = name[0] == 'd' ? down : gate_up;
      target.values.insert(target.values.end(), values.begin(), values.end());
      fused.Remove(prefix + name);
    }
  }
  fused.tensors.push_back(gate_up);
  fused.tensors.push_back(down);
  const auto loaded = Load(fused);
  REQUIRE(loaded->weights.layers[1].experts.size() == 4);
  for (int e = 0; e < 4; ++e) {
    CheckMlp(loaded->weights.layers[1].experts[static_cast<size_t>(e)], model,
             "model.layers.1.mlp.experts." + std::to_string(e) + ".");
  }
}

TEST_CASE("key norms are inferred from the tensors", "[loader]") {
  TestModel blockwise = MakeLatentMla("blockwise");
  const auto a = Load(blockwise);
  CHECK(a->config.key_norm == KeyNorm::kBlockwise);
  const std::string prefix = "model.layers.1.self_attn.";
  const LayerWeights& layer = a->weights.layers[1];
  CHECK(layer.q_content_norm == blockwise.Find(prefix + "q_content_norm.weight").values);
  CHECK(layer.q_rope_norm == blockwise.Find(prefix + "q_rope_norm.weight").values);
  CHECK(layer.k_content_norm == blockwise.Find(prefix + "k_content_norm.weight").values);
  CHECK(layer.k_rope_norm == blockwise.Find(prefix + "k_rope_norm.weight").values);

  TestModel unified = MakeLatentMla("unified");
  unified.config["qk_norm"] = "unified";
  const auto b = Load(unified);
  CHECK(b->config.key_norm == KeyNorm::kUnified);
  std::vector<float> joined = b->weights.layers[1].k_content_norm;
  CHECK(joined.size() == 6);
  const std::vector<float>& rope = b->weights.layers[1].k_rope_norm;
  joined.insert(joined.end(), rope.begin(), rope.end());
  CHECK(joined == unified.Find(prefix + "k_norm.weight").values);
  CHECK(b->weights.layers[1].q_content_norm.size() == 6);
  CHECK(b->weights.layers[1].q_rope_norm.size() == 4);
}

TEST_CASE("no rotary part: no rotary norms", "[loader]") {
  TestModel model = MakeLatentMla("blockwise");
  model.config["qk_rope_head_dim"] = 0;
  for (int i = 0; i < 2; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".self_attn.";
    model.Remove(prefix + "q_rope_norm.weight");
    model.Remove(prefix + "k_rope_norm.weight");
    TestTensor& q_b = model.Find(prefix + "q_b_proj.weight");
    q_b.shape = {4 * 6, 12};
    q_b.values.resize(4 * 6 * 12);
    TestTensor& kv_a = model.Find(prefix + "kv_a_proj_with_mqa.weight");
    kv_a.shape = {16, 32};
    kv_a.values.resize(16 * 32);
  }
  const auto loaded = Load(model);
  CHECK(loaded->config.key_norm == KeyNorm::kBlockwise);
  CHECK(loaded->weights.layers[0].k_rope_norm.empty());
  CHECK(loaded->weights.layers[0].kv_a_proj.rows == 16);
}

TEST_CASE("a directly projected query", "[loader]") {
  TestModel model = MakeYoutu();
  model.config["q_lora_rank"] = nullptr;
  std::vector<float> first;
  for (int i = 0; i < 2; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".self_attn.";
    model.Remove(prefix + "q_a_layernorm.weight");
    model.Remove(prefix + "q_b_proj.weight");
    TestTensor& query = model.Find(prefix + "q_a_proj.weight");
    query.name = prefix + "q_proj.weight";
    query.shape = {40, 32};
    query.values.resize(40 * 32, 0.5f);
    if (i == 0) first = query.values;
  }
  const auto loaded = Load(model);
  CHECK(Values(loaded->weights.layers[0].q_proj) == first);
  CHECK_FALSE(loaded->weights.layers[0].q_a_proj);
  CHECK(loaded->weights.layers[0].q_a_norm.empty());
}

TEST_CASE("biases", "[loader]") {
  TestModel model = MakeDeepseekV3();
  model.config["attention_bias"] = true;
  for (int i = 0; i < 2; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".self_attn.";
    model.tensors.push_back({prefix + "q_a_proj.bias", {12}, "F32", std::vector<float>(12, 1)});
    model.tensors.push_back(
        {prefix + "kv_a_proj_with_mqa.bias", {20}, "F32", std::vector<float>(20, 2)});
    model.tensors.push_back({prefix + "o_proj.bias", {32}, "F32", std::vector<float>(32, 3)});
  }
  const auto loaded = Load(model);
  CHECK(loaded->weights.layers[1].q_a_bias == std::vector<float>(12, 1));
  CHECK(loaded->weights.layers[1].kv_a_bias == std::vector<float>(20, 2));
  CHECK(loaded->weights.layers[1].o_bias == std::vector<float>(32, 3));
}

TEST_CASE("latent scales are folded into the norms", "[loader]") {
  TestModel model = MakeLatentMla();
  model.config["mla_scale_q_lora"] = true;
  model.config["mla_scale_kv_lora"] = true;
  const auto loaded = Load(model);
  const std::vector<float>& q = model.Find("model.layers.0.self_attn.q_a_layernorm.weight").values;
  const std::vector<float>& kv =
      model.Find("model.layers.0.self_attn.kv_a_layernorm.weight").values;
  const LayerWeights& layer = loaded->weights.layers[0];
  for (size_t i = 0; i < q.size(); ++i) {
    CHECK(layer.q_a_norm[i] == static_cast<float>(q[i] * std::sqrt(32.0 / 12)));
  }
  for (size_t i = 0; i < kv.size(); ++i) {
    CHECK(layer.kv_a_norm[i] == static_cast<float>(kv[i] * std::sqrt(2.0)));
  }
}

TEST_CASE("tied embeddings", "[loader]") {
  TestModel model = MakeYoutu();
  const auto loaded = Load(model);
  CHECK(loaded->weights.lm_head.data == loaded->weights.embedding.data);
  model.tensors.push_back({"lm_head.weight", {40, 32}, "F32", std::vector<float>(40 * 32, 9)});
  const auto with_head = Load(model);
  CHECK(with_head->weights.lm_head.data == with_head->weights.embedding.data);
  CHECK(with_head->weights.num_parameters == loaded->weights.num_parameters);
  REQUIRE(with_head->notes.size() == 1);
  CHECK_THAT(with_head->notes[0], Catch::Contains("lm_head.weight"));
}

TEST_CASE("multi-token prediction layers and derived buffers are set aside", "[loader]") {
  TestModel model = MakeDeepseekV3();
  model.config["num_nextn_predict_layers"] = 1;
  const uint64_t parameters = static_cast<uint64_t>(TotalElements(model));
  model.tensors.push_back(
      {"model.layers.2.eh_proj.weight", {32, 64}, "BF16", std::vector<float>(2048)});
  model.tensors.push_back({"model.layers.2.enorm.weight", {32}, "F32", std::vector<float>(32)});
  model.tensors.push_back(
      {"model.layers.0.self_attn.rotary_emb.inv_freq", {2}, "F32", std::vector<float>(2)});
  const auto loaded = Load(model);
  CHECK(loaded->weights.num_parameters == parameters);
  REQUIRE(loaded->notes.size() == 1);
  CHECK_THAT(loaded->notes[0], Catch::Contains("2 tensors of multi-token prediction"));
}

TEST_CASE("a folder of several files", "[loader]") {
  const TempFolder folder;
  TestModel model = MakeLatentMla();
  const auto middle = model.tensors.begin() + 7;
  folder.Write("config.json", model.config.dump());
  folder.Write("model-00001-of-00002.safetensors",
               SafetensorsBytes(std::vector<TestTensor>(model.tensors.begin(), middle)));
  folder.Write("model-00002-of-00002.safetensors",
               SafetensorsBytes(std::vector<TestTensor>(middle, model.tensors.end())));
  SECTION("without an index") {}
  SECTION("with an index, files being links as in the hub's cache") {
    const TempFolder blobs;
    json map;
    for (auto it = model.tensors.begin(); it != model.tensors.end(); ++it) {
      map[it->name] =
          it < middle ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
    }
    folder.Write("model.safetensors.index.json",
                 json{{"metadata", json::object()}, {"weight_map", map}}.dump());
    folder.Write("stray.safetensors", "not looked at");
    std::filesystem::rename(folder.path() + "/model-00002-of-00002.safetensors",
                            blobs.path() + "/blob");
    std::filesystem::create_symlink(blobs.path() + "/blob",
                                    folder.path() + "/model-00002-of-00002.safetensors");
    const auto loaded = Load(folder);
    CheckAttention(loaded->weights.layers[1], model, "model.layers.1.");
    return;
  }
  const auto loaded = Load(folder);
  CheckAttention(loaded->weights.layers[0], model, "model.layers.0.");
  CheckAttention(loaded->weights.layers[1], model, "model.layers.1.");
}

TEST_CASE("weights outlive the folder and the model's other parts", "[loader]") {
  TestModel model = MakeLatentMla();
  Weights weights;
  {
    const auto loaded = Load(model);
    weights = loaded->weights;
  }
  CHECK(Values(weights.lm_head) == model.Find("lm_head.weight").values);
}

TEST_CASE("matrices that the file does not align are copied", "[loader]") {
  TestModel model = MakeLatentMla();
  for (const std::string dtype : {"F32", "BF16"}) {
    model.SetDType(dtype);
    for (int pad = 0; pad < 4; ++pad) {
      const TempFolder folder;
      json config = model.config;
      folder.Write("config.json", config.dump());
      std::string bytes = SafetensorsBytes(model.tensors);
      // Spaces after the header move the data off its boundary.
      const std::string header =
          bytes.substr(8, bytes.find("}}") + 2 - 8) + std::string(static_cast<size_t>(pad), ' ');
      std::string data;
      for (const TestTensor& tensor : model.tensors) data += TensorBytes(tensor);
      folder.Write("model.safetensors", SafetensorsBytes(header, data));
      const auto loaded = Load(folder);
      for (const WeightView& view : {loaded->weights.embedding, loaded->weights.lm_head}) {
        CHECK(reinterpret_cast<uintptr_t>(view.data) % SizeOf(view.dtype) == 0);
      }
      CheckAttention(loaded->weights.layers[1], model, "model.layers.1.");
      CheckMlp(loaded->weights.layers[1].mlp, model, "model.layers.1.mlp.");
    }
  }
}

TEST_CASE("progress rises to the whole", "[loader]") {
  const TempFolder folder;
  const TestModel model = MakeDeepseekV3();
  model.Write(folder);
  uint64_t last = 0;
  uint64_t total = 0;
  int calls = 0;
  Load(folder, [&](uint64_t done, uint64_t all) {
    CHECK(done >= last);
    CHECK(done <= all);
    last = done;
    total = all;
    ++calls;
  });
  CHECK(calls > 10);
  CHECK(last == total);
  CHECK(total == static_cast<uint64_t>(TotalElements(model)) * 4);
}

}  // namespace latentd
