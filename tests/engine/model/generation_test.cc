#include <catch2/catch.hpp>

#include "engine/model/loader.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

using nlohmann::json;

absl::StatusOr<GenerationDefaults> Load(const json& config_changes, const std::string& generation) {
  const TempFolder folder;
  TestModel model = MakeLatentMla();
  model.config.update(config_changes);
  model.Write(folder);
  if (!generation.empty()) folder.Write("generation_config.json", generation);
  const auto loaded = LoadModel(folder.path());
  if (!loaded.ok()) return loaded.status();
  return (*loaded)->generation;
}

}  // namespace

TEST_CASE("sampling defaults that a checkpoint ships", "[generation]") {
  const auto generation = Load({{"eos_token_id", 3}}, R"({
    "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1,
    "do_sample": false, "eos_token_id": [1, 2], "bos_token_id": 0, "transformers_version": "5.23.0"})");
  REQUIRE(generation.ok());
  CHECK(generation->temperature == 0.6f);
  CHECK(generation->top_p == 0.95f);
  CHECK(generation->top_k == 20);
  CHECK(generation->min_p == 0.05f);
  CHECK(generation->repetition_penalty == 1.1f);
  CHECK(generation->eos_token_ids == std::vector<uint32_t>{1, 2});
  CHECK(generation->bos_token_id == 0u);
}

TEST_CASE("what generation_config.json leaves out", "[generation]") {
  const auto fallback =
      Load({{"eos_token_id", {3, 4}}, {"bos_token_id", 5}}, R"({"do_sample": true})");
  REQUIRE(fallback.ok());
  CHECK_FALSE(fallback->temperature.has_value());
  CHECK_FALSE(fallback->top_k.has_value());
  CHECK(fallback->eos_token_ids == std::vector<uint32_t>{3, 4});
  CHECK(fallback->bos_token_id == 5u);

  const auto absent = Load({{"eos_token_id", 7}}, "");
  REQUIRE(absent.ok());
  CHECK(absent->eos_token_ids == std::vector<uint32_t>{7});
  CHECK_FALSE(absent->bos_token_id.has_value());

  const auto none =
      Load({{"eos_token_id", nullptr}}, R"({"eos_token_id": null, "temperature": null})");
  REQUIRE(none.ok());
  CHECK(none->eos_token_ids.empty());
}

TEST_CASE("faults of generation_config.json", "[generation]") {
  struct Case {
    const char* text;
    std::vector<std::string> wanted;
  };
  const std::vector<Case> cases{
      {"{", {"not valid JSON"}},
      {"3", {"must be a JSON object"}},
      {R"({"temperature": -0.1})", {"temperature must be a number from 0"}},
      {R"({"temperature": NaN})", {"'temperature'"}},
      {R"({"temperature": 1e60})", {"temperature"}},
      {R"({"top_p": 1.5})", {"top_p must be a number from 0 to 1, not 1.5"}},
      {R"({"top_k": 2.5})", {"top_k must be a whole number"}},
      {R"({"top_k": -2})", {"top_k must be a whole number from -1"}},
      {R"({"min_p": "a"})", {"min_p"}},
      {R"({"repetition_penalty": 0})", {"repetition_penalty"}},
      {R"({"eos_token_id": 40})", {"eos_token_id", "from 0 to 39, not 40"}},
      {R"({"eos_token_id": [1, "2"]})", {"eos_token_id"}},
      {R"({"eos_token_id": 1, "eos_token_id": 2})", {"'eos_token_id' is given twice"}},
  };
  for (const Case& test : cases) {
    INFO(test.text);
    const auto generation = Load(json::object(), test.text);
    REQUIRE_FALSE(generation.ok());
    const std::string fault(generation.status().message());
    CHECK_THAT(fault, Catch::Contains("/generation_config.json: "));
    for (const std::string& wanted : test.wanted) CHECK_THAT(fault, Catch::Contains(wanted));
  }
}

}  // namespace latentd
