// What a layer is made of: experts, norms, biases, a query without its own latent.
#include <cmath>

#include "tests/engine/model/loaded_model.h"

namespace latentd {
namespace {

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

}  // namespace
}  // namespace latentd
