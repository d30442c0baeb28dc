#include "engine/text/tokenizer.h"

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <catch2/catch.hpp>

#include "engine/text/c_abi.h"
#include "tests/engine/text/test_data.h"

namespace latentd {
namespace {

using testing::LoadTokenizer;
using testing::ReadFile;
using testing::ReadGolden;
using Ids = std::vector<uint32_t>;

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

TEST_CASE("Ids and texts equal those of the Python package", "[text]") {
  for (const std::string name : {"byte_level", "byte_fallback"}) {
    const auto tokenizer = LoadTokenizer(name);
    const auto golden = ReadGolden(name + ".json");
    for (const auto& item : golden["cases"]) {
      INFO(name << ": " << item["text"]);
      const std::string text = item["text"];
      const auto ids = tokenizer->Encode(text, false);
      REQUIRE(ids.ok());
      CHECK(*ids == item["ids"].get<Ids>());
      const auto special = tokenizer->Encode(text, true);
      REQUIRE(special.ok());
      CHECK(*special == item["ids_special"].get<Ids>());
      CHECK(tokenizer->Decode(*special, false) == item["decoded"].get<std::string>());
      CHECK(tokenizer->Decode(*special, true) == item["decoded_skip"].get<std::string>());
    }
  }
}

TEST_CASE("Every token has its exact bytes", "[text]") {
  for (const std::string name : {"byte_level", "byte_fallback"}) {
    const auto tokenizer = LoadTokenizer(name);
    const auto golden = ReadGolden(name + ".json");
    REQUIRE(tokenizer->vocab_size() == golden["vocab_size"].get<uint32_t>());
    const auto special = golden["special"].get<Ids>();
    for (uint32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      INFO(name << " token " << id);
      CHECK(Hex(tokenizer->TokenBytes(id)) == golden["bytes"][id].get<std::string>());
      const bool is_special = std::find(special.begin(), special.end(), id) != special.end();
      CHECK(tokenizer->IsSpecial(id) == is_special);
    }
    // Ids beyond the vocabulary (a model's padding) are nothing.
    for (const uint32_t id : {tokenizer->vocab_size(), UINT32_MAX}) {
      CHECK(tokenizer->TokenBytes(id).empty());
      CHECK_FALSE(tokenizer->IsSpecial(id));
      CHECK(tokenizer->Decode(Ids{id}, false).empty());
    }
  }
}

TEST_CASE("Byte-level decoding of any ids equals the library's", "[text]") {
  const auto tokenizer = LoadTokenizer("byte_level");
  const std::string json = ReadFile("byte_level/tokenizer.json");
  latentd_tokenizer* library = nullptr;
  REQUIRE(TakeTextError("", latentd_tokenizer_new(TextData(json), json.size(), &library)).ok());
  std::mt19937 random(2);
  for (int round = 0; round < 2000; ++round) {
    Ids ids(random() % 12);
    for (uint32_t& id : ids) id = random() % tokenizer->vocab_size();
    const bool skip = random() % 2 == 0;
    latentd_text_bytes text;
    REQUIRE(
        TakeTextError("", latentd_tokenizer_decode(library, ids.data(), ids.size(), skip, &text))
            .ok());
    REQUIRE(tokenizer->Decode(ids, skip) == TakeTextBytes(text));
  }
  latentd_tokenizer_free(library);
}

TEST_CASE("Tokens are looked up by content", "[text]") {
  const auto tokenizer = LoadTokenizer("byte_level");
  CHECK(tokenizer->TokenId("<|begin▁of▁text|>") == 0u);
  CHECK(tokenizer->bos_id() == 0u);
  CHECK(tokenizer->bos_token() == "<|begin▁of▁text|>");
  CHECK(tokenizer->eos_id() == 1u);
  CHECK_FALSE(tokenizer->TokenId("no such token").has_value());
  CHECK_FALSE(tokenizer->TokenId("\xFF").has_value());
  CHECK_FALSE(tokenizer->TokenId("").has_value());
}

TEST_CASE("add_bos_token and add_eos_token rule over the post-processor", "[text]") {
  const std::string fallback = ReadFile("byte_fallback/tokenizer.json");  // adds <s> itself
  const std::string level = ReadFile("byte_level/tokenizer.json");        // adds nothing
  const auto ends = [](const std::string& json, const std::string& config) {
    const auto tokenizer = Tokenizer::FromJson(json, config);
    REQUIRE(tokenizer.ok());
    const auto with = (*tokenizer)->Encode("a", true), without = (*tokenizer)->Encode("a", false);
    REQUIRE(with.ok());
    std::string shape;
    for (const uint32_t id : *with) {
      shape += id == (*tokenizer)->bos_id() ? 'b' : id == (*tokenizer)->eos_id() ? 'e' : '.';
    }
    CHECK(with->size() - without->size() ==
          static_cast<size_t>(
              std::count_if(shape.begin(), shape.end(), [](char c) { return c != '.'; })));
    return std::string(1, shape.front()) + shape.back();
  };
  const std::string tokens = R"("bos_token": "<s>", "eos_token": {"content": "</s>"})";
  CHECK(ends(fallback, "{" + tokens + "}") == "b.");
  CHECK(ends(fallback, "{" + tokens + R"(, "add_bos_token": true})") == "b.");
  CHECK(ends(fallback, "{" + tokens + R"(, "add_bos_token": false})") == "..");
  CHECK(ends(fallback, "{" + tokens + R"(, "add_bos_token": true, "add_eos_token": true})") ==
        "be");
  const std::string others = R"("bos_token": "<|im_start|>", "eos_token": "<|im_end|>")";
  CHECK(ends(level, "{" + others + "}") == "..");
  CHECK(ends(level, "{" + others + R"(, "add_bos_token": true})") == "b.");
  CHECK(ends(level, "{" + others + R"(, "add_eos_token": true})") == ".e");
}

TEST_CASE("A damaged tokenizer is an error that names the file", "[text]") {
  const std::string good = ReadFile("byte_level/tokenizer.json");
  const auto message = [](const std::string& json, const std::string& config) {
    const auto tokenizer = Tokenizer::FromJson(json, config);
    CHECK(absl::IsInvalidArgument(tokenizer.status()));
    const std::string text(tokenizer.status().message());
    CHECK(text.find('\n') == std::string::npos);
    return text;
  };
  std::string deep(100000, '[');
  for (const std::string& json :
       {std::string(), std::string("{}"), std::string("[]"), std::string("\xFF"), deep,
        good.substr(0, good.size() / 2), std::string(R"({"model": {"type": "None"}})")}) {
    CHECK_THAT(message(json, ""), Catch::StartsWith("tokenizer.json: "));
  }
  auto no_decoder = nlohmann::json::parse(good);
  no_decoder["decoder"] = nullptr;
  CHECK_THAT(message(no_decoder.dump(), ""), Catch::Contains("no decoder"));
  no_decoder["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  CHECK_THAT(message(no_decoder.dump(), ""), Catch::Contains("'WordPiece'"));
  auto huge_id = nlohmann::json::parse(good);
  huge_id["model"]["vocab"]["huge"] = 4000000000u;
  CHECK_THAT(message(huge_id.dump(), ""), Catch::Contains("16777216"));
  CHECK_THAT(message(good, "[]"), Catch::StartsWith("tokenizer_config.json"));
  CHECK_THAT(message(good, R"({"bos_token": 3})"), Catch::Contains("bos_token"));
  CHECK_THAT(message(good, R"({"add_eos_token": "yes"})"), Catch::Contains("add_eos_token"));
  CHECK(absl::IsNotFound(Tokenizer::Load("tests/engine/text/no_such_folder").status()));
}

// The byte-level tokenizer with a normalizer of `steps` of Replace "a" by `times` of them.
std::string Growing(const char* part, int steps, size_t times) {
  auto json = nlohmann::json::parse(ReadFile("byte_level/tokenizer.json"));
  const nlohmann::json step = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(times, 'a')}};
  const nlohmann::json chain = std::vector<nlohmann::json>(static_cast<size_t>(steps), step);
  json[part] = {{"type", "Sequence"}, {std::string(part) + "s", chain}};
  return json.dump();
}

TEST_CASE("A tokenizer that makes any text huge is refused by name", "[text]") {
  for (const auto& [part, steps, times, growth] :
       {std::tuple{"normalizer", 3, size_t{1000}, "1000000000"},
        std::tuple{"normalizer", 11, size_t{2}, "2048"}, std::tuple{"decoder", 5, size_t{2}, "32"},
        std::tuple{"normalizer", 64, size_t{1000}, "18446744073709551615"}}) {
    const auto refused = Tokenizer::FromJson(Growing(part, steps, times), "");
    REQUIRE(absl::IsInvalidArgument(refused.status()));
    CHECK_THAT(std::string(refused.status().message()),
               Catch::StartsWith(std::string("tokenizer.json: ") + part) &&
                   Catch::Contains(std::string(growth) + " times as long"));
  }
}

TEST_CASE("What a text may grow to bounds its length", "[text]") {
  const auto tokenizer = Tokenizer::FromJson(Growing("normalizer", 2, 32), "");
  REQUIRE(tokenizer.ok());
  CHECK((*tokenizer)->Encode("a", false).ok());
  // 2^17 bytes times 1024 is the limit of 2^27; one is kept for a Prepend.
  CHECK((*tokenizer)->Encode(std::string((1 << 17) - 1, ' '), false).ok());
  const auto refused = (*tokenizer)->Encode(std::string(1 << 17, ' '), false);
  REQUIRE(absl::IsInvalidArgument(refused.status()));
  CHECK_THAT(std::string(refused.status().message()), Catch::Contains("131072 bytes"));
}

TEST_CASE("Text that is not UTF-8 is refused", "[text]") {
  const auto tokenizer = LoadTokenizer("byte_level");
  const auto ids = tokenizer->Encode("ab\xFF", true);
  CHECK(absl::IsInvalidArgument(ids.status()));
  CHECK(ids.status().message() == "text: not UTF-8 at byte 2");
}

}  // namespace
}  // namespace latentd
