#include "engine/text/detokenizer.h"

#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/engine/text/test_data.h"

namespace latentd {
namespace {

using testing::LoadTokenizer;
using Ids = std::vector<uint32_t>;

std::string Stream(const Tokenizer& tokenizer, const Ids& ids,
                   IncrementalDecoder::Options options) {
  IncrementalDecoder decoder(&tokenizer, options);
  std::string text;
  for (const uint32_t id : ids) {
    const std::string delta = decoder.Push(id);
    REQUIRE(IsValidUtf8(delta));
    text += delta;
  }
  return text + decoder.Flush();
}

TEST_CASE("Streaming gives what decoding the whole gives", "[text]") {
  for (const char* name : {"byte_level", "byte_fallback"}) {
    const auto tokenizer = LoadTokenizer(name);
    // Tokens of a single byte make most sequences invalid; every second id is one of them.
    Ids bytes;
    for (uint32_t id = 0; id < tokenizer->vocab_size(); ++id) {
      if (tokenizer->TokenBytes(id).size() == 1) bytes.push_back(id);
    }
    REQUIRE(bytes.size() >= 256);
    std::mt19937 random(3);
    for (int round = 0; round < 5000; ++round) {
      Ids ids(random() % 16);
      for (uint32_t& id : ids) {
        id = random() % 2 ? bytes[random() % bytes.size()]
                          : random() % (tokenizer->vocab_size() + 2);
      }
      for (const bool skip : {false, true}) {
        REQUIRE(Stream(*tokenizer, ids, {.skip_special = skip, .at_text_start = true}) ==
                tokenizer->Decode(ids, skip));
      }
    }
  }
}

TEST_CASE("A character split over tokens comes out whole, or as one replacement", "[text]") {
  const auto tokenizer = LoadTokenizer("byte_fallback");
  const auto byte = [&](int value) { return static_cast<uint32_t>(3 + value); };  // <0x00> has id 3
  IncrementalDecoder decoder(tokenizer.get(), {});
  for (const int value : {0xF0, 0x9F, 0x98}) CHECK(decoder.Push(byte(value)).empty());
  CHECK(decoder.Push(byte(0x80)) == "😀");
  CHECK(decoder.Push(byte(0xE2)).empty());
  CHECK(decoder.Push(byte('x')) == "\xEF\xBF\xBDx");
  CHECK(decoder.Push(byte(0xE2)).empty());
  CHECK(decoder.Push(byte(0x82)).empty());
  CHECK(decoder.Flush() == "\xEF\xBF\xBD");
  CHECK(decoder.Flush().empty());
}

TEST_CASE("A skipped special token does not part a character", "[text]") {
  const auto tokenizer = LoadTokenizer("byte_fallback");
  const Ids ids = {3 + 0xC3, 2, 3 + 0xA9};  // </s> between the two bytes
  CHECK(Stream(*tokenizer, ids, {.skip_special = true}) == "é");
  CHECK(Stream(*tokenizer, ids, {.skip_special = false}) == "\xEF\xBF\xBD</s>\xEF\xBF\xBD");
}

TEST_CASE("Text that goes on after a prompt keeps its first space", "[text]") {
  const auto tokenizer = LoadTokenizer("byte_fallback");
  const auto ids = tokenizer->Encode("the truth", false);
  REQUIRE(ids.ok());
  CHECK(Stream(*tokenizer, *ids, {.at_text_start = true}) == "the truth");
  CHECK(Stream(*tokenizer, *ids, {.at_text_start = false}) == " the truth");
}

}  // namespace
}  // namespace latentd
