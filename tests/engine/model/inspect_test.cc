#include "engine/model/inspect.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "engine/model/cache_shape.h"
#include "tests/engine/model/quantised_folder.h"

namespace latentd {
namespace {

std::unique_ptr<const Model> Load(const TestModel& model) {
  const TempFolder folder;
  model.Write(folder);
  auto loaded = LoadModel(folder.path());
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

ModelConfig Dims(int64_t layers, int64_t groups, int64_t rope, KeyNorm norm) {
  ModelConfig config;
  config.num_layers = layers;
  config.num_kv_groups = groups;
  config.qk_nope_head_dim = 128;
  config.qk_rope_head_dim = rope;
  config.v_head_dim = 128;
  config.key_norm = norm;
  return config;
}

}  // namespace

TEST_CASE("cache bytes follow the layout of a block", "[inspect]") {
  // DeepSeek-V3: 1152 bytes a layer, against 128 heads × (192 + 128) × 2.
  ModelConfig dims = Dims(61, 128, 64, KeyNorm::kNone);
  dims.kv_lora_rank = 512;
  const CacheCost v3 = CacheCostOf(dims, 512);
  CHECK(v3.bytes_per_token == 61 * 1152);
  CHECK(v3.bytes_per_block == 61 * 1152 * 64);
  CHECK(v3.expanded_per_token == 61 * 128 * 320 * 2);
  CHECK(ContextThatFits(dims, 512, int64_t{1} << 30) == (int64_t{1} << 30) / (61 * 1152 * 64) * 64);
  CHECK(ContextThatFits(dims, 512, 61 * 1152 * 64 - 1) == 0);

  // Ranks are stored in 64s, rows in 16 bytes, and a key-normed model adds 4 bytes a group.
  CHECK(CacheCostOf(Dims(1, 4, 4, KeyNorm::kBlockwise), 65).bytes_per_token == 272 + 16);
  CHECK(CacheCostOf(Dims(1, 4, 0, KeyNorm::kUnified), 64).bytes_per_token == 128 + 16);
  CHECK(CacheCostOf(Dims(1, 4, 0, KeyNorm::kNone), 1).bytes_per_token == 128);
  // 64 · 132 = 33 granules exactly; 64 · 136 rounds up to 34.
  CHECK(CacheCostOf(Dims(1, 1, 0, KeyNorm::kUnified), 64).bytes_per_block == 33 * 256);
}

TEST_CASE("an int8 cache costs what its layout says", "[inspect]") {
  ModelConfig dims = Dims(61, 128, 64, KeyNorm::kNone);
  dims.kv_lora_rank = 512;
  const CacheCost v3 = CacheCostOf(dims, 512, CacheFormat::kInt8);
  CHECK(v3.bytes_per_token == 61 * 644);
  CHECK(v3.bytes_per_block == 61 * 644 * 64);
  CHECK(v3.expanded_per_token == 61 * 128 * 320 * 2);
  CHECK(ContextThatFits(dims, 512, int64_t{1} << 30, CacheFormat::kInt8) ==
        (int64_t{1} << 30) / (61 * 644 * 64) * 64);
  // α stays fp32: narrow blocks shrink less than the full one, and fewer fit a page.
  dims = Dims(12, 4, 64, KeyNorm::kBlockwise);
  dims.kv_lora_rank = 512;
  dims.elastic = ElasticConfig{{}, {128, 512}, false, true};
  const int64_t page_bytes = int64_t{16} * 12 * 64 * (644 + 16);
  CHECK(ContextThatFits(dims, 512, page_bytes, CacheFormat::kInt8) == 16 * 64);
  CHECK(ContextThatFits(dims, 128, page_bytes, CacheFormat::kInt8) == 660 * 16 / 276 * 64);
}

TEST_CASE("narrow widths fit more tokens: a page is 16 blocks at full width", "[inspect]") {
  ModelConfig dims = Dims(12, 4, 64, KeyNorm::kBlockwise);
  dims.kv_lora_rank = 512;
  dims.elastic = ElasticConfig{{}, {64, 128, 256, 384, 512}, false, true};
  const int64_t page_bytes = int64_t{16} * 12 * 64 * (2 * (512 + 64) + 4 * 4);
  const std::pair<int64_t, int64_t> blocks[] = {
      {512, 16}, {384, 20}, {256, 28}, {128, 46}, {64, 68}};
  for (const auto& [rank, count] : blocks) {
    CAPTURE(rank);
    CHECK(ContextThatFits(dims, rank, 16 * page_bytes) == 16 * count * 64);
    CHECK(ContextThatFits(dims, rank, page_bytes - 1) == 0);
  }
  // Every rank may be asked for: eight classes, and 65 needs rows of 128.
  dims.elastic->continuous = true;
  CHECK(CacheShapeOf(dims).classes.size() == 8);
  CHECK(ContextThatFits(dims, 65, page_bytes) == 46 * 64);
  CHECK(ContextThatFits(dims, 1, page_bytes) == 68 * 64);
  // One class: nothing to share a page with.
  dims.elastic = ElasticConfig{{}, {449, 512}, false, true};
  CHECK(CacheShapeOf(dims).classes.size() == 1);
  CHECK(CacheShapeOf(dims).full_blocks == 1);
}

TEST_CASE("the report states exact numbers", "[inspect]") {
  TestModel model = MakeLatentMla("blockwise");
  model.SetDType("BF16");
  model.config["elastic"] = {{"q_lora_ranks", {6, 12}}, {"kv_lora_ranks", {8, 16}}};
  int64_t elements = 0;
  for (const TestTensor& tensor : model.tensors) elements += NumElements(tensor);
  const auto loaded = Load(model);
  const nlohmann::json report = InspectJson(*loaded);
  CHECK(report["family"] == "latent_mla");
  CHECK(report["parameters"] == elements);
  CHECK(report["weight_bytes"] == 2 * elements);
  CHECK(report["dtype"] == "BF16");
  CHECK(report["geometry"]["num_kv_groups"] == 2);
  CHECK(report["geometry"]["key_norm"] == "blockwise");
  // Two layers of 2·(64 + 4) → 144 bytes and 2 alphas.
  CHECK(report["cache"]["bytes_per_token"] == 2 * (144 + 8));
  CHECK(report["cache"]["expanded_bytes_per_token"] == 2 * 2 * 2 * (6 + 4 + 8));
  CHECK(report["cache"]["tokens_in_8_gib"] == (int64_t{8} << 30) / (2 * 152 * 64) * 64);
  CHECK(report["elastic"]["kv_ranks"] == nlohmann::json({8, 16}));
  CHECK(report["elastic"]["cache"].size() == 2);
  // A byte for each of the 64 lanes, 4 · 2 for kR: 72 → 80 bytes, 2 alphas and a scale.
  CHECK(report["cache_int8"]["bytes_per_token"] == 2 * (80 + 8 + 4));
  CHECK(report["elastic"]["cache_int8"][0]["bytes_per_token"] == 2 * (80 + 8 + 4));
  CHECK_FALSE(report.contains("experts"));

  const std::string text = InspectText(*loaded);
  CHECK_THAT(text, Catch::Contains("parameters: " + std::to_string(elements) + " ("));
  CHECK_THAT(text, Catch::Contains(
                       "cache (bf16)\n  kv rank 16: 304 bytes per token (keys and values: 144)"));
  CHECK_THAT(text, Catch::Contains(
                       "cache (int8)\n  kv rank 16: 184 bytes per token (keys and values: 144)"));
  CHECK_THAT(text, Catch::Contains("q ranks: 6, 12"));
}

TEST_CASE("the report says what takes part in a token, and how it is stored", "[inspect]") {
  TestModel model = MakeDeepseekV3();
  model.config["quantization_config"] = Fp8Config();
  model.config["rope_scaling"] = {
      {"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  int64_t elements = 0;
  for (const TestTensor& tensor : model.tensors) elements += NumElements(tensor);
  QuantiseFp8(&model, "model.layers.0.mlp.gate_proj.weight");  // 24 × 32
  const TempFolder folder;
  model.Write(folder);
  const auto loaded = LoadModel(folder.path(), {.progress = {}, .describe_only = true});
  REQUIRE(loaded.ok());
  const nlohmann::json report = InspectJson(**loaded, 1 << 20);
  CHECK(report["parameters"] == elements);
  // Less the table of 40 × 32 and two of four experts of 3 · 8 · 32.
  CHECK(report["active_parameters"] == elements - 40 * 32 - 2 * 3 * 8 * 32);
  CHECK(report["weight_format"] == "fp8 (e4m3) in blocks of 128 x 128");
  CHECK(report["bytes_by_dtype"] ==
        nlohmann::json({{"F32", 4 * (elements - 24 * 32) + 4}, {"F8_E4M3", 24 * 32}}));
  CHECK(report["rope"]["scaling"] == "yarn");
  CHECK(report["rope"]["inverse_frequencies"].size() == 2);
  CHECK(report["experts"]["scores"] == "sigmoid");
  CHECK(report["experts"]["routed_scale"] == 2.5);
  // Two layers of 2·(64 + 4) → 144 bytes, against 2 · 4 · (6 + 4 + 8) · 2.
  CHECK(report["memory"]["tokens"] == (1 << 20) / (2 * 144 * 64) * 64);
  CHECK(report["memory"]["tokens_of_keys_and_values"] == (1 << 20) / 288);
  const int64_t left = (1 << 20) - report["weight_bytes"].get<int64_t>();
  CHECK(report["memory"]["tokens_beside_weights"] == left / (2 * 144 * 64) * 64);
  CHECK_FALSE(InspectJson(**loaded).contains("memory"));
  // A memory that the weights alone fill.
  CHECK(InspectJson(**loaded, 1000)["memory"]["tokens_beside_weights"] == 0);
  const std::string text = InspectText(**loaded, 1 << 20);
  CHECK_THAT(text, Catch::Contains("bytes, fp8 (e4m3) in blocks of 128 x 128\n"));
  CHECK_THAT(text, Catch::Contains("rope\n  scaling: yarn\n"));
  CHECK_THAT(text, Catch::Contains("memory\n  bytes: 1048576\n"));
}

TEST_CASE("the report of a model with experts", "[inspect]") {
  TestModel model = MakeDeepseekV3();
  model.tensors.push_back({"model.layers.2.enorm.weight", {32}, "F32", std::vector<float>(32, 1)});
  const auto loaded = Load(model);
  const nlohmann::json report = InspectJson(*loaded);
  CHECK(report["experts"]["num_experts"] == 4);
  CHECK(report["experts"]["top_k"] == 2);
  CHECK(report["notes"].size() == 1);
  CHECK_THAT(InspectText(*loaded), Catch::Contains("num_experts: 4"));
  CHECK_THAT(InspectText(*loaded), Catch::Contains("note: 1 tensors of multi-token prediction"));
}

}  // namespace latentd
