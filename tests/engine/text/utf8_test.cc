#include "engine/text/utf8.h"

#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace latentd {
namespace {

using namespace std::string_literals;

const std::string kBad = "\xEF\xBF\xBD";

// Pieces that meet every rule of the table of well-formed sequences: whole characters of each
// length at their limits, and what is just outside.
const std::vector<std::string> kPieces = {"a"s,
                                          "\0"s,
                                          "\x7F"s,
                                          "\xC2\x80"s,
                                          "\xDF\xBF"s,
                                          "\xE0\xA0\x80"s,
                                          "\xED\x9F\xBF"s,
                                          "\xEE\x80\x80"s,
                                          "\xF0\x90\x80\x80"s,
                                          "\xF4\x8F\xBF\xBF"s,
                                          "\x80"s,
                                          "\xC0"s,
                                          "\xC1\xBF"s,
                                          "\xE0\x9F"s,
                                          "\xED\xA0\x80"s,
                                          "\xF0\x8F"s,
                                          "\xF4\x90"s,
                                          "\xF5"s,
                                          "\xFF"s,
                                          "\xE2\x82"s,
                                          "\xF0\x9F\x98"s,
                                          "\xC3"s};

TEST_CASE("Valid UTF-8 is told from what is not", "[text]") {
  for (size_t i = 0; i < kPieces.size(); ++i) CHECK(IsValidUtf8(kPieces[i]) == (i < 10));
  CHECK(IsValidUtf8(""));
  CHECK(IsValidUtf8("Größe 中文 😀"));
}

// The examples of the Unicode standard (table 3-8 and its neighbours) for maximal prefixes.
TEST_CASE("Every maximal prefix becomes one replacement", "[text]") {
  CHECK(ToValidUtf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64") ==
        "a" + kBad + kBad + kBad + "b" + kBad + "c" + kBad + kBad + "d");
  CHECK(ToValidUtf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") ==
        kBad + kBad + kBad + kBad + kBad + kBad + kBad + kBad + "A");
  CHECK(ToValidUtf8("\xE2\x82") == kBad);
  CHECK(ToValidUtf8("Größe 中文 😀"s) == "Größe 中文 😀");
}

TEST_CASE("A stream cut anywhere gives the whole text in whole characters", "[text]") {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (unsigned i = random() % 8; i > 0; --i) bytes += kPieces[random() % kPieces.size()];
    Utf8Stream stream;
    std::string text;
    for (size_t at = 0; at < bytes.size();) {
      const size_t size = random() % 4;
      std::string delta;
      stream.Append(std::string_view(bytes).substr(at, size), &delta);
      at += size;
      REQUIRE(IsValidUtf8(delta));
      REQUIRE(stream.pending_bytes() <= 3);
      text += delta;
    }
    stream.Finish(&text);
    REQUIRE(text == ToValidUtf8(bytes));
  }
}

}  // namespace
}  // namespace latentd
