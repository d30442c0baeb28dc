// EncodeAtMost: a text that has too many tokens is given up early, and no other.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/engine/text/test_data.h"

namespace latentd {
namespace {

using Json = nlohmann::ordered_json;
using testing::LoadTokenizer;
using testing::ReadFile;

std::string RandomText(std::mt19937* random) {
  const std::vector<std::string> words = {"the",  " ",  "a", "truth", "\n",  "  ",          "123",
                                          "中文", "é",  "▁", "<s>",   "😀",   "XY",          "</s>",
                                          "'s",   "\t", "Ġ", "ing",   "of ", "<|im_start|>"};
  std::string text;
  for (size_t i = (*random)() % 40; i > 0; --i) text += words[(*random)() % words.size()];
  return text;
}

TEST_CASE("A limit changes no ids, and what is given up has more than it", "[text]") {
  std::mt19937 random(7);
  int num_early = 0;
  for (const std::string name : {"byte_level", "byte_fallback"}) {
    const auto tokenizer = LoadTokenizer(name);
    for (int round = 0; round < 3000; ++round) {
      const std::string text = RandomText(&random);
      const bool special = random() % 2 == 0;
      const size_t limit = random() % 60;
      const auto alone = tokenizer->Encode(text, false), all = tokenizer->Encode(text, special);
      const auto got = tokenizer->EncodeAtMost(text, special, limit);
      REQUIRE(got.ok());
      INFO(name << " limit " << limit << ": " << text);
      if (alone->size() <= limit) {
        REQUIRE(got->at_least == 0);
        REQUIRE(got->ids == *all);
      } else {
        REQUIRE(got->at_least > limit);
        REQUIRE(got->at_least <= alone->size());
        REQUIRE(got->ids.empty());
        num_early += got->at_least < alone->size();
      }
    }
  }
  CHECK(num_early > 500);
}

// A byte-level tokenizer whose longest token has one byte, with `change` made to its file.
template <typename Change>
std::unique_ptr<Tokenizer> Bytes(Change change) {
  Json json = Json::parse(ReadFile("byte_level/tokenizer.json"));
  Json letters;
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    const auto is_lead = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
    if (std::count_if(token.begin(), token.end(), is_lead) == 1) letters[token] = id;
  }
  json["model"]["vocab"] = letters;
  json["model"]["merges"] = Json::array();
  json["added_tokens"] = Json::array();
  json["pre_tokenizer"] = {{"type", "ByteLevel"},
                           {"add_prefix_space", false},
                           {"trim_offsets", true},
                           {"use_regex", false}};
  change(&json);
  auto tokenizer = Tokenizer::FromJson(json.dump(), "");
  INFO(tokenizer.status().ToString());
  REQUIRE(tokenizer.ok());
  return *std::move(tokenizer);
}

Json Added(const std::string& content) {
  return {{"id", 500},       {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

TEST_CASE("Length alone tells of too many tokens", "[text]") {
  const auto plain = Bytes([](Json*) {});
  CHECK(plain->EncodeAtMost(std::string(1000, 'x'), true, 999)->at_least == 1000);
  // A longer token, which this text does not have, might be everywhere for all that length says.
  const auto longer = Bytes([](Json* json) { json->at("added_tokens").push_back(Added("<|x|>")); });
  CHECK(longer->EncodeAtMost(std::string(1000, 'x'), true, 100)->at_least == 200);
  // Pieces are no longer one text: the words of a template or a document.
  const auto words = LoadTokenizer("byte_level");
  std::string text;
  for (int i = 0; i < 1000; ++i) text += " a";
  CHECK(words->EncodeAtMost(text, true, 900)->at_least == 1000);
}

// Each of these has far fewer tokens than its bytes would say of a plain file.
TEST_CASE("Where text is dropped, shortened or swallowed, length tells nothing", "[text]") {
  const auto fits = [](const std::string& text, size_t limit, auto change) {
    const auto tokenizer = Bytes(change);
    const auto got = tokenizer->EncodeAtMost(text, false, limit);
    INFO(text.substr(0, 20) << " has " << tokenizer->Encode(text, false)->size());
    CHECK(got->at_least == 0);
    CHECK(got->ids.size() <= limit);
  };
  const std::string spaces(1000, ' ');
  const auto normalizer = [](Json step) {
    return [step](Json* json) { json->at("normalizer") = step; };
  };
  const auto pre_tokenizer = [](Json step) {
    return [step](Json* json) {
      json->at("pre_tokenizer") = {{"type", "Sequence"},
                                   {"pretokenizers", {step, json->at("pre_tokenizer")}}};
    };
  };
  const Json shorter = {{"type", "Replace"}, {"pattern", {{"String", "  "}}}, {"content", ""}};
  const Json regex = {{"type", "Replace"}, {"pattern", {{"Regex", " +"}}}, {"content", "____"}};
  std::string jamo;  // three letters, of nine bytes, that are one syllable of three
  for (int i = 0; i < 100; ++i) jamo += "\u1112\u1161\u11AB";

  fits(spaces, 0, normalizer(shorter));
  fits(spaces, 4, normalizer(regex));
  fits(spaces, 0, normalizer({{"type", "Sequence"}, {"normalizers", {shorter}}}));
  fits(spaces, 0, normalizer({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}));
  fits(jamo, 300, normalizer({{"type", "NFC"}}));
  fits(spaces, 0, pre_tokenizer({{"type", "WhitespaceSplit"}}));
  fits(spaces, 0,
       pre_tokenizer({{"type", "Split"},
                      {"pattern", {{"String", " "}}},
                      {"behavior", "Removed"},
                      {"invert", false}}));
  for (const char* side : {"lstrip", "rstrip"}) {
    const std::string text = side == std::string("lstrip") ? spaces + "<x>" : "<x>" + spaces;
    fits(text, 1, [side](Json* json) {
      json->at("added_tokens").push_back(Added("<x>"));
      json->at("added_tokens").back()[side] = true;
    });
  }
  // A byte that the model has no token for is dropped, or part of one unknown token.
  const auto forget = [](Json* json) { json->at("model").at("vocab").erase("x"); };
  fits(std::string(1000, 'x'), 0, forget);
  fits(std::string(1000, 'x'), 1, [&](Json* json) {
    forget(json);
    json->at("model")["unk_token"] = "y";
    json->at("model")["fuse_unk"] = true;
  });
}

TEST_CASE("Steps that keep or lengthen text leave length its say", "[text]") {
  const Json growing = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "__"}};
  const auto grown = Bytes([&](Json* json) {
    json->at("normalizer") = {{"type", "Sequence"},
                              {"normalizers", {growing, {{"type", "Prepend"}, {"prepend", "_"}}}}};
  });
  CHECK(grown->EncodeAtMost(std::string(1000, ' '), false, 999)->at_least == 1000);
  CHECK(grown->Encode(std::string(1000, ' '), false)->size() == 2001);
}

TEST_CASE("A post-processor that leaves the text out is refused by name", "[text]") {
  Json json = Json::parse(ReadFile("byte_fallback/tokenizer.json"));
  Json& single = json["post_processor"]["single"];
  single.erase(std::remove_if(single.begin(), single.end(),
                              [](const Json& piece) { return piece.contains("Sequence"); }),
               single.end());
  const auto refused = Tokenizer::FromJson(json.dump(), "");
  CHECK(absl::IsInvalidArgument(refused.status()));
  CHECK(refused.status().message() ==
        "tokenizer.json: post_processor: its template leaves the text out");
}

}  // namespace
}  // namespace latentd
