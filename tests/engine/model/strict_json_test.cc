#include "engine/model/strict_json.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "engine/model/message.h"

namespace latentd {
namespace {

std::string FaultOf(std::string_view text, int max_depth = 32) {
  const absl::StatusOr<nlohmann::json> json = ParseStrictJson(text, max_depth);
  return json.ok() ? "accepted" : std::string(json.status().message());
}

}  // namespace

TEST_CASE("strict JSON keeps what a document says", "[json]") {
  const std::string text =
      R"({"a": [1, -2, 3.5, true, null, "x"], "b": {"c": {}, "d": []}, "ü": 1e3})";
  const absl::StatusOr<nlohmann::json> json = ParseStrictJson(text);
  REQUIRE(json.ok());
  CHECK(*json == nlohmann::json::parse(text));
}

TEST_CASE("strict JSON refuses what RFC 8259 or we do not allow", "[json]") {
  using Catch::Contains;
  CHECK_THAT(FaultOf(R"({"a": 1, "\u0061": 2})"), Contains("key 'a' is given twice"));
  CHECK_THAT(FaultOf(R"({"a": {"b": 1, "b": 2}})"), Contains("key 'b' is given twice"));
  CHECK(FaultOf(R"([{"a": 1}, {"a": 2}])") == "accepted");
  CHECK_THAT(FaultOf(R"({"eps": NaN})"), Contains("not valid JSON") && Contains("'eps'"));
  CHECK_THAT(FaultOf(R"({"eps": Infinity})"), Contains("'eps'"));
  CHECK_THAT(FaultOf(R"({"eps": -Infinity})"), Contains("'eps'"));
  CHECK_THAT(FaultOf(R"({"eps": 1e999})"), Contains("'eps'"));
  CHECK_THAT(FaultOf("{\"a\": \"\xff\"}"), Contains("not valid JSON"));
  CHECK_THAT(FaultOf(R"({"a": "\ud800"})"), Contains("not valid JSON"));
  CHECK_THAT(FaultOf(R"({"a": 1} {)"), Contains("not valid JSON"));
  CHECK_THAT(FaultOf(""), Contains("not valid JSON"));
  CHECK_THAT(FaultOf(R"({"a": 1,})"), Contains("not valid JSON"));
  CHECK_THAT(FaultOf("{/* no */}"), Contains("not valid JSON"));
}

TEST_CASE("strict JSON bounds nesting", "[json]") {
  CHECK(FaultOf("[[[]]]", 3) == "accepted");
  CHECK_THAT(FaultOf("[[[[]]]]", 3), Catch::Contains("deeper than 3"));
  CHECK_THAT(FaultOf(std::string(1 << 20, '[')), Catch::Contains("deeper than 32"));
}

TEST_CASE("strict JSON bounds the number of values", "[json]") {
  std::string text = "[0";
  for (int i = 2; i < 1 << 20; ++i) text += ",0";
  CHECK(FaultOf(text + "]") == "accepted");
  CHECK_THAT(FaultOf(text + ",0]"), Catch::Contains("more than 1048576 values"));
  CHECK_THAT(FaultOf(text + ",{}]"), Catch::Contains("more than 1048576 values"));
}

TEST_CASE("text from files is made fit for messages", "[json]") {
  CHECK(Printable("model.norm.weight") == "model.norm.weight");
  CHECK(Printable("a\nb\x1b[1m") == "a\\nb\\033[1m");
  // Cut on a character's boundary: 119 bytes and half of a two-byte letter.
  CHECK(Printable(std::string(119, 'x') + "üü") == std::string(119, 'x') + "…");
}

}  // namespace latentd
