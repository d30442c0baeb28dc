// Damaged and hostile folders: one sentence that names the file and the tensor or key, and no harm.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "tests/engine/model/folder_faults.h"

namespace latentd {
namespace {

using nlohmann::json;

constexpr char kIndex[] = "model.safetensors.index.json";

// A folder whose single file is described by an index.
void WriteIndexed(const TempFolder& folder, const TestModel& model, json weight_map) {
  folder.Write("config.json", model.config.dump());
  folder.Write("one.safetensors", SafetensorsBytes(model.tensors));
  folder.Write(kIndex, json{{"weight_map", std::move(weight_map)}}.dump());
}

json MapAll(const TestModel& model, const std::string& file) {
  json map = json::object();
  for (const TestTensor& tensor : model.tensors) map[tensor.name] = file;
  return map;
}

}  // namespace

TEST_CASE("tensors that do not fit the config", "[folder]") {
  const std::string layer = "model.layers.1.self_attn.";
  CheckAll(
      MakeLatentMla("blockwise"),
      {
          {"missing matrix",
           [&](TestModel& m) { m.Remove(layer + "kv_b_proj.weight"); },
           {"/model.safetensors: 1 tensor is missing (" + layer + "kv_b_proj.weight)"}},
          {"missing norm",
           [](TestModel& m) { m.Remove("model.norm.weight"); },
           {"/model.safetensors: 1 tensor is missing (model.norm.weight)"}},
          {"missing head", [](TestModel& m) { m.Remove("lm_head.weight"); }, {"(lm_head.weight)"}},
          {"missing key norm",
           [&](TestModel& m) { m.Remove(layer + "q_rope_norm.weight"); },
           {layer + "q_rope_norm.weight"}},
          {"five missing",
           [&](TestModel& m) {
             for (const char* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
               m.Remove(std::string("model.layers.0.mlp.") + name);
             }
             m.Remove(layer + "o_proj.weight");
             m.Remove(layer + "q_b_proj.weight");
           },
           {"5 tensors are missing (model.layers.0.mlp.gate_proj.weight, ", " and 2 more)"}},
          {"extra",
           [](TestModel& m) {
             m.tensors.push_back({"model.extra\n", {1}, "F32", {1}});
           },
           {"/model.safetensors: 1 tensor is not part of the model", "(model.extra\\n)"}},
          {"extra layer",
           [](TestModel& m) {
             m.tensors.push_back({"model.layers.2.input_layernorm.weight", {1}, "F32", {1}});
           },
           {"model.layers.2.input_layernorm.weight"}},
          {"renamed",
           [&](TestModel& m) { m.Find(layer + "o_proj.weight").name = layer + "O.weight"; },
           {"1 tensor is missing", layer + "o_proj.weight", "and 1 tensor is not part",
            layer + "O.weight"}},
          {"unwanted bias",
           [&](TestModel& m) {
             m.tensors.push_back({layer + "o_proj.bias", {1}, "F32", {1}});
           },
           {layer + "o_proj.bias"}},
          {"transposed",
           [&](TestModel& m) {
             m.Find(layer + "kv_b_proj.weight").shape = {16, 28};
           },
           {"/model.safetensors: tensor '" + layer + "kv_b_proj.weight' has the shape [16, 28]",
            "[28, 16]"}},
          {"flattened",
           [&](TestModel& m) { m.Find(layer + "kv_b_proj.weight").shape = {28 * 16}; },
           {layer + "kv_b_proj.weight", "[448]"}},
          {"two of the wrong shape",
           [&](TestModel& m) {
             m.Find("model.norm.weight").shape = {32, 1};
             m.Find("lm_head.weight").shape = {32, 40};
           },
           {"and 1 more tensors do not fit"}},
          {"config with another rank",
           [](TestModel& m) { m.config["kv_lora_rank"] = 15; },
           {"has the shape", "but config.json makes it"}},
          {"config with one more layer",
           [](TestModel& m) { m.config["num_hidden_layers"] = 3; },
           {"model.layers.2.input_layernorm.weight"}},
          {
              "config with one layer less",
              [](TestModel& m) { m.config["num_hidden_layers"] = 1; },
              {"16 tensors are not part of the model", "model.layers.1."},
          },
          {"config with very many layers",
           [](TestModel& m) { m.config["num_hidden_layers"] = 65536; },
           {"at least 10", "tensors are missing"}},
          {"integer matrix",
           [&](TestModel& m) {
             m.Find(layer + "o_proj.weight").dtype = "I8";
             m.Find(layer + "o_proj.weight").values.clear();
           },
           {layer + "o_proj.weight", "dtype I8", "F32, F16, BF16"}},
          {"fp8 matrix",
           [&](TestModel& m) {
             m.Find(layer + "o_proj.weight").dtype = "F8_E4M3";
             m.Find(layer + "o_proj.weight").values.clear();
           },
           {layer + "o_proj.weight", "dtype F8_E4M3"}},
          {"NaN in a norm",
           [&](TestModel& m) { m.Find(layer + "kv_a_layernorm.weight").values[3] = std::nanf(""); },
           {"/model.safetensors: tensor '" + layer + "kv_a_layernorm.weight'",
            "not finite at position 3"}},
          {"infinity in a norm",
           [](TestModel& m) { m.Find("model.norm.weight").values[0] = INFINITY; },
           {"model.norm.weight", "not finite at position 0"}},
          {"contradicted none",
           [](TestModel& m) { m.config["qk_norm"] = "none"; },
           {"/config.json: qk_norm contradicts the tensors", "k_content_norm.weight"}},
          {"contradicted unified",
           [](TestModel& m) { m.config["qk_norm"] = "unified"; },
           {"/config.json: qk_norm contradicts the tensors"}},
          {"both norms",
           [](TestModel& m) {
             m.tensors.push_back({"model.layers.0.self_attn.k_norm.weight", {1}, "F32", {1}});
           },
           {"has both", "k_norm.weight"}},
      });
}

TEST_CASE("key norms that are declared must be there", "[folder]") {
  CheckAll(MakeLatentMla(), {{"declared only",
                              [](TestModel& m) { m.config["qk_norm"] = "blockwise"; },
                              {"/config.json: qk_norm contradicts the tensors", "neither"}}});
}

TEST_CASE("expert tensors that do not fit the config", "[folder]") {
  const std::string mlp = "model.layers.1.mlp.";
  CheckAll(MakeDeepseekV3(),
           {
               {"missing expert",
                [&](TestModel& m) { m.Remove(mlp + "experts.3.up_proj.weight"); },
                {mlp + "experts.3.up_proj.weight"}},
               {"missing bias",
                [&](TestModel& m) { m.Remove(mlp + "gate.e_score_correction_bias"); },
                {mlp + "gate.e_score_correction_bias"}},
               {"NaN in the router",
                [&](TestModel& m) { m.Find(mlp + "gate.weight").values[9] = std::nanf(""); },
                {mlp + "gate.weight", "not finite at position 9"}},
               {"config with more experts",
                [](TestModel& m) { m.config["n_routed_experts"] = 8; },
                {"gate.weight", "[8, 32]"}},
               {"config with absurdly many experts",
                [](TestModel& m) { m.config["n_routed_experts"] = 65536; },
                {"gate.weight", "[65536, 32]"}},
               {"fused of the wrong shape",
                [&](TestModel& m) {
                  m.tensors.push_back(
                      {mlp + "experts.gate_up_proj", {4, 32, 16}, "F32", std::vector<float>(2048)});
                },
                {mlp + "experts.gate_up_proj", "[4, 16, 32]"}},
               {"dense layer where the config wants experts",
                [](TestModel& m) { m.config["first_k_dense_replace"] = 0; },
                {"model.layers.0.mlp."}},
               {"prediction layer beyond the announced",
                [](TestModel& m) {
                  m.config["num_nextn_predict_layers"] = 1;
                  m.tensors.push_back({"model.layers.3.enorm.weight", {1}, "F32", {1}});
                },
                {"model.layers.3.enorm.weight"}},
               {"layer number that is no number",
                [](TestModel& m) {
                  m.tensors.push_back({"model.layers.x2.enorm.weight", {1}, "F32", {1}});
                },
                {"model.layers.x2.enorm.weight"}},
           });
}

TEST_CASE("files that are missing or are no files", "[folder]") {
  using Catch::Contains;
  const TempFolder folder;
  CHECK_THAT(FaultOf(folder), Contains("/config.json: cannot be opened"));
  folder.Write("config.json", MakeLatentMla().config.dump());
  CHECK_THAT(FaultOf(folder), Contains("/model.safetensors: does not exist"));
  std::filesystem::create_directory(folder.path() + "/model.safetensors");
  CHECK_THAT(FaultOf(folder), Contains("/model.safetensors: is not a regular file"));
  std::filesystem::remove(folder.path() + "/model.safetensors");
  REQUIRE(mkfifo((folder.path() + "/model.safetensors").c_str(), 0600) == 0);
  CHECK_THAT(FaultOf(folder), Contains("/model.safetensors: is not a regular file"));
  folder.Write("config.json", std::string((4 << 20) + 1, ' '));
  CHECK_THAT(FaultOf(folder), Contains("/config.json: is 4194305 bytes long"));
  CHECK_FALSE(LoadModel("/nonexistent-folder").ok());
}

TEST_CASE("damaged files", "[folder]") {
  using Catch::Contains;
  const TempFolder folder;
  const TestModel model = MakeLatentMla();
  model.Write(folder);
  const std::string good = SafetensorsBytes(model.tensors);
  folder.Write("model.safetensors", good.substr(0, good.size() / 2));
  CHECK_THAT(FaultOf(folder), Contains("/model.safetensors: tensor '") && Contains("truncated?"));
  folder.Write("model.safetensors", good.substr(0, 100));
  CHECK_THAT(FaultOf(folder), Contains("/model.safetensors: declares a header of"));
  folder.Write("model.safetensors", good + "tail");
  CHECK_THAT(FaultOf(folder), Contains("/model.safetensors: the last 4 bytes"));
  std::string broken = good;
  broken[broken.find(':')] = '}';
  folder.Write("model.safetensors", broken);
  CHECK_THAT(FaultOf(folder), Contains("/model.safetensors: the header is not valid JSON"));
  folder.Write("model.safetensors", good);
  folder.Write("config.json", model.config.dump().substr(0, 80));
  CHECK_THAT(FaultOf(folder), Contains("/config.json: not valid JSON"));
}

TEST_CASE("an index may name only plain files of the folder", "[folder]") {
  const TestModel model = MakeLatentMla();
  for (const std::string file : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", "..",
                                 ".", "", "one.bin", "a\\one.safetensors"}) {
    const TempFolder folder;
    json map = MapAll(model, "one.safetensors");
    map["model.norm.weight"] = file;
    WriteIndexed(folder, model, map);
    const std::string fault = FaultOf(folder);
    INFO(fault);
    CHECK_THAT(fault, Catch::Contains(std::string("/") + kIndex +
                                      ": weight_map sends tensor 'model.norm.weight'"));
    CHECK_THAT(fault, Catch::Contains("not the plain name"));
  }
  const TempFolder folder;
  json map = MapAll(model, "one.safetensors");
  map["model.norm.weight"] = std::string("one\0.safetensors", 16);
  WriteIndexed(folder, model, map);
  CHECK_THAT(FaultOf(folder), Catch::Contains("not the plain name"));
}

TEST_CASE("an index that does not say what is so", "[folder]") {
  using Catch::Contains;
  const TestModel model = MakeLatentMla();
  const TempFolder folder;
  json map = MapAll(model, "one.safetensors");
  WriteIndexed(folder, model, map);
  REQUIRE(FaultOf(folder) == "accepted");

  map["model.ghost"] = "one.safetensors";
  WriteIndexed(folder, model, map);
  CHECK_THAT(FaultOf(folder),
             Contains(kIndex) && Contains("'model.ghost' to one.safetensors, which does not"));
  map.erase("model.ghost");
  map.erase("model.norm.weight");
  WriteIndexed(folder, model, map);
  CHECK_THAT(FaultOf(folder), Contains("/one.safetensors: tensor 'model.norm.weight' is not in"));
  map["model.norm.weight"] = "two.safetensors";
  WriteIndexed(folder, model, map);
  CHECK_THAT(FaultOf(folder), Contains("/two.safetensors: cannot be opened"));
  folder.Write("two.safetensors", SafetensorsBytes("{}", ""));
  CHECK_THAT(FaultOf(folder), Contains("'model.norm.weight' to two.safetensors, which does not"));
  map["model.norm.weight"] = 2;
  WriteIndexed(folder, model, map);
  CHECK_THAT(FaultOf(folder),
             Contains("weight_map must name a file for tensor 'model.norm.weight'"));
  WriteIndexed(folder, model, json::object());
  CHECK_THAT(FaultOf(folder), Contains("weight_map is empty"));
  folder.Write(kIndex, "{}");
  CHECK_THAT(FaultOf(folder), Contains(kIndex) && Contains("weight_map"));
  folder.Write(kIndex, "{\"weight_map\": {");
  CHECK_THAT(FaultOf(folder), Contains(kIndex) && Contains("not valid JSON"));
}

TEST_CASE("a tensor in two files", "[folder]") {
  const TempFolder folder;
  const TestModel model = MakeLatentMla();
  folder.Write("config.json", model.config.dump());
  folder.Write("a.safetensors", SafetensorsBytes(model.tensors));
  folder.Write("b.safetensors", SafetensorsBytes({model.tensors.front()}));
  CHECK_THAT(FaultOf(folder),
             Catch::Contains(
                 "/b.safetensors: tensor 'model.embed_tokens.weight' is in a.safetensors too"));
}

}  // namespace latentd
