// Folders, files and dtypes.
#include <filesystem>

#include "tests/engine/model/loaded_model.h"

namespace latentd {
namespace {

using nlohmann::json;

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

}  // namespace
}  // namespace latentd
