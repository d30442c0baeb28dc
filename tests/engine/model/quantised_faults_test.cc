// Damaged and foreign quantised folders: one sentence that names what holds.
#include "tests/engine/model/folder_faults.h"
#include "tests/engine/model/quantised_folder.h"

namespace latentd {
namespace {

using nlohmann::json;

constexpr char kGate[] = "model.layers.0.mlp.gate_proj.weight";
constexpr char kKvB[] = "model.layers.0.self_attn.kv_b_proj.weight";

std::string Name(const char* matrix, const char* suffix) { return std::string(matrix) + suffix; }

// Another shape with as many bytes as it needs.
void Reshape(TestTensor& tensor, std::vector<int64_t> shape, size_t element_bytes) {
  tensor.shape = std::move(shape);
  tensor.values.clear();
  tensor.bytes.assign(static_cast<size_t>(NumElements(tensor)) * element_bytes, '\0');
}

// config_groups.group_0.weights of the int4 config.
json& Weights(TestModel& model) {
  return model.config["quantization_config"]["config_groups"]["group_0"]["weights"];
}

TEST_CASE("fp8 folders that do not fit", "[quantised]") {
  TestModel good = MakeDeepseekV3();
  good.config["quantization_config"] = Fp8Config();
  QuantiseFp8(&good, kGate);
  QuantiseFp8(&good, kKvB);
  const std::string scale = Name(kGate, "_scale_inv");
  CheckAll(
      good,
      {
          {"no scale",
           [&](TestModel& m) { m.Remove(scale); },
           {"1 tensor is missing (" + scale + ")"}},
          {"no scale of kv_b",
           [](TestModel& m) { m.Remove(Name(kKvB, "_scale_inv")); },
           {"1 tensor is missing (" + Name(kKvB, "_scale_inv") + ")"}},
          {"scale of the wrong shape",
           [&](TestModel& m) {
             Reshape(m.Find(scale), {2, 1}, 4);
           },
           {"tensor '" + scale + "' has the shape [2, 1], but config.json makes it [1, 1]"}},
          {"scale without dimensions",
           [&](TestModel& m) { m.Find(scale).shape = {}; },
           {scale, "has the shape []"}},
          {"scale of a wrong dtype",
           [&](TestModel& m) {
             m.Find(scale).dtype = "I32";
             Reshape(m.Find(scale), {1, 1}, 4);
           },
           {scale, "dtype I32, which is not served here (F32, F16, BF16)"}},
          {"weight of the wrong shape",
           [](TestModel& m) {
             m.Find(kGate).shape = {32, 24};
           },
           {kGate, "[32, 24]", "[24, 32]"}},
          {"e5m2", [](TestModel& m) { m.Find(kGate).dtype = "F8_E5M2"; }, {kGate, "dtype F8_E5M2"}},
          {"scale of a plain matrix",
           [](TestModel& m) {
             m.tensors.push_back({"lm_head.weight_scale_inv", {1, 1}, "F32", {1}});
           },
           {"1 tensor is not part of the model", "lm_head.weight_scale_inv"}},
          {"no quantization_config",
           [](TestModel& m) { m.config.erase("quantization_config"); },
           {"dtype F8_E4M3, which is not served here (F32, F16, BF16)"}},
          {"the other form",
           [](TestModel& m) { m.config["quantization_config"] = Int4Config(); },
           {"dtype F8_E4M3"}},
          {"a quantised embedding",
           [](TestModel& m) { QuantiseFp8(&m, "model.embed_tokens.weight"); },
           {"model.embed_tokens.weight", "dtype F8_E4M3"}},
          {"a quantised norm",
           [](TestModel& m) {
             m.Find("model.norm.weight").dtype = "F8_E4M3";
             Reshape(m.Find("model.norm.weight"), {32}, 1);
           },
           {"model.norm.weight", "dtype F8_E4M3"}},
          {"a quantised router",
           [](TestModel& m) { QuantiseFp8(&m, "model.layers.1.mlp.gate.weight"); },
           {"model.layers.1.mlp.gate.weight", "dtype F8_E4M3"}},
      });
}

TEST_CASE("int4 folders that do not fit", "[quantised]") {
  TestModel good = MakeDeepseekV3();
  good.config["quantization_config"] = Int4Config();
  QuantiseInt4(&good, kGate);
  const std::string packed = Name(kGate, "_packed"), scale = Name(kGate, "_scale"),
                    shape = Name(kGate, "_shape");
  CheckAll(
      good,
      {
          {"no words", [&](TestModel& m) { m.Remove(packed); }, {"is missing (" + packed + ")"}},
          {"no scale", [&](TestModel& m) { m.Remove(scale); }, {"is missing (" + scale + ")"}},
          {"no shape", [&](TestModel& m) { m.Remove(shape); }, {"is missing (" + shape + ")"}},
          {"words of the wrong shape",
           [&](TestModel& m) {
             Reshape(m.Find(packed), {24, 5}, 4);
           },
           {packed, "has the shape [24, 5], but config.json makes it [24, 4]"}},
          {"bytes for words",
           [&](TestModel& m) {
             m.Find(packed).dtype = "U8";
             Reshape(m.Find(packed), {24, 4}, 1);
           },
           {packed, "dtype U8, which is not served here (I32)"}},
          {"scales of the wrong shape",
           [&](TestModel& m) {
             Reshape(m.Find(scale), {24, 2}, 2);
           },
           {scale, "[24, 2]", "[24, 1]"}},
          {"scales of a wrong dtype",
           [&](TestModel& m) {
             m.Find(scale).dtype = "F8_E4M3";
             Reshape(m.Find(scale), {24, 1}, 1);
           },
           {scale, "dtype F8_E4M3, which is not served here (F32, F16, BF16)"}},
          {"a shape that says another",
           [&](TestModel& m) { m.Find(shape).bytes[0] = 25; },
           {shape, "says [25, 32], but config.json makes the matrix [24, 32]"}},
          {"a shape of three",
           [&](TestModel& m) { Reshape(m.Find(shape), {3}, 8); },
           {shape, "has the shape [3]"}},
          {"a shape of int32",
           [&](TestModel& m) {
             m.Find(shape).dtype = "I32";
             Reshape(m.Find(shape), {2}, 4);
           },
           {shape, "dtype I32, which is not served here (I64)"}},
          {"groups that do not divide",
           [](TestModel& m) {
             QuantiseInt4(&m, "model.layers.0.mlp.down_proj.weight");  // 24 columns
           },
           {"model.layers.0.mlp.down_proj.weight_packed",
            "has rows of 24 elements, which groups of 32 do not divide"}},
          {"groups of another size",
           [](TestModel& m) { Weights(m)["group_size"] = 64; },
           {packed, "has rows of 32 elements, which groups of 64 do not divide"}},
          {"zero points",
           [&](TestModel& m) {
             m.tensors.push_back({Name(kGate, "_zero_point"), {1}, "I32", {}, "abcd"});
           },
           {"1 tensor is not part of the model", "_zero_point"}},
          {"both forms of one matrix",
           [](TestModel& m) {
             m.tensors.push_back({kGate, {24, 32}, "F32", std::vector<float>(24 * 32, 1)});
           },
           {"3 tensors are not part of the model"}},
          {"no quantization_config",
           [](TestModel& m) { m.config.erase("quantization_config"); },
           {std::string("1 tensor is missing (") + kGate + ")", "3 tensors are not part"}},
      });
}

TEST_CASE("quantisations that are not served are refused by name", "[quantised]") {
  const auto fault_of = [](const json& section, const json& changes = json::object()) {
    json config = MakeDeepseekV3().config;
    config["quantization_config"] = section;
    config.update(changes);
    const auto parsed = ParseModelConfig(config.dump());
    return parsed.ok() ? "accepted" : std::string(parsed.status().message());
  };
  const auto fp8 = [&](const char* key, const json& value) {
    json section = Fp8Config();
    section[key] = value;
    return fault_of(section);
  };
  using Catch::Contains;
  CHECK(fault_of(Fp8Config()) == "accepted");
  CHECK(fault_of(Int4Config(128)) == "accepted");
  CHECK(fp8("scale_fmt", "ue8m0") == "accepted");
  CHECK(fp8("modules_to_not_convert", {"lm_head"}) == "accepted");
  CHECK(fp8("quant_method", "awq") ==
        "config.json: quantization_config.quant_method 'awq' is not supported (fp8, "
        "compressed-tensors)");
  CHECK_THAT(fault_of({{"bits", 4}}), Contains("quantization_config.quant_method is missing"));
  CHECK_THAT(fault_of("fp8"), Contains("quantization_config must be an object"));
  CHECK_THAT(fp8("weight_block_size", {128, 64}), Contains("weight_block_size must be [128, 128]"));
  CHECK_THAT(fp8("weight_block_size", nullptr), Contains("weight_block_size must be [128, 128]"));
  CHECK_THAT(fp8("fmt", "e5m2"),
             Contains("quantization_config.fmt 'e5m2' is not supported (e4m3)"));
  CHECK_THAT(fp8("activation_scheme", "static"), Contains("activation_scheme 'static'"));
  CHECK_THAT(fault_of(Fp8Config(), {{"compression_config", {{"a", 1}}}}),
             Contains("compression_config is not supported"));
  json elastic = MakeLatentMla().config;
  elastic["elastic"] = {{"kv_lora_ranks", {8, 16}}};
  elastic["quantization_config"] = Fp8Config();
  CHECK_THAT(std::string(ParseModelConfig(elastic.dump()).status().message()),
             Contains("quantization_config is not supported together with elastic"));

  const auto int4 = [&](const char* path, const json& value) {
    json section = Int4Config();
    section[json::json_pointer(path)] = value;
    return fault_of(section);
  };
  const std::string group = "/config_groups/group_0";
  CHECK_THAT(int4("/format", "marlin-24"), Contains("format 'marlin-24' is not supported"));
  CHECK_THAT(int4("/kv_cache_scheme", {{"num_bits", 8}}), Contains("kv_cache_scheme an object"));
  CHECK(int4("/sparsity_config", json::object()) == "accepted");
  CHECK_THAT(int4("/config_groups/group_1", json::object()),
             Contains("must be an object with one"));
  CHECK_THAT(int4("/config_groups", nullptr), Contains("config_groups must be an object with one"));
  CHECK_THAT(int4(group.c_str(), nullptr), Contains("config_groups.group_0 must be an object"));
  CHECK_THAT(int4(group.c_str(), 3), Contains("config_groups.group_0 must be an object"));
  const auto weights = [&](const char* key, const json& value) {
    return int4((group + "/weights/" + key).c_str(), value);
  };
  CHECK_THAT(int4((group + "/weights").c_str(), nullptr), Contains("group_0.weights is missing"));
  CHECK_THAT(int4((group + "/input_activations").c_str(), {{"num_bits", 8}}),
             Contains("group_0.input_activations an object is not supported"));
  CHECK_THAT(weights("num_bits", 8), Contains("group_0.weights.num_bits 8 is not supported (4)"));
  CHECK_THAT(weights("symmetric", false), Contains("symmetric must be true"));
  CHECK_THAT(weights("type", "float"), Contains("type 'float' is not supported (int)"));
  CHECK_THAT(weights("strategy", "channel"), Contains("strategy 'channel' is not supported"));
  CHECK_THAT(weights("group_size", 48), Contains("group_size 48 is not supported (32, 64, 128)"));
  CHECK_THAT(weights("group_size", -1), Contains("group_size -1 is not supported"));
  CHECK_THAT(weights("group_size", nullptr), Contains("group_size is missing"));
  CHECK_THAT(weights("actorder", "group"), Contains("actorder 'group' is not supported"));
  CHECK_THAT(weights("dynamic", true), Contains("dynamic true is not supported"));
}

}  // namespace
}  // namespace latentd
