#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/engine/text/constraint_fixture.h"

namespace latentd {
namespace {

using testing::ConstraintFixture;
using testing::kTimeless;
using Json = nlohmann::json;
using Kind = Constraint::Kind;

std::string Times(int n, const std::string& text) {
  std::string all;
  for (int i = 0; i < n; ++i) absl::StrAppend(&all, text);
  return all;
}

// One sentence for a caller: a line, not long, without the library's insides.
std::string Refusal(const ConstraintFixture& fixture, Kind kind, const std::string& source,
                    const Constraint::Limits& limits = kTimeless) {
  const auto constraint = Constraint::Compile(*fixture.vocabulary, kind, source, limits);
  INFO(source.substr(0, 100));
  CHECK(absl::IsInvalidArgument(constraint.status()));
  const std::string message(constraint.status().message());
  CHECK(message.size() < 400);
  for (const char* inside : {"\n", "panic", "<state>", "backtrace", ".rs:", "NoExtension"}) {
    CHECK_THAT(message, !Catch::Contains(inside));
  }
  return message;
}

TEST_CASE("What cannot be a constraint is refused with the reason", "[text][constraint]") {
  const ConstraintFixture fixture;
  const std::vector<std::tuple<Kind, std::string, std::string>> cases = {
      {Kind::kJsonSchema, "", "not JSON"},
      {Kind::kJsonSchema, "{", "not JSON"},
      {Kind::kJsonSchema, "[1]", "an object or a boolean"},
      {Kind::kJsonSchema, "false", "schema is false"},
      {Kind::kJsonSchema, R"({"type": "strin"})", "strin"},
      {Kind::kJsonSchema, R"({"uniqueItems": true})", "uniqueItems"},
      {Kind::kJsonSchema, R"({"type": "string", "format": "nonsense"})", "nonsense"},
      {Kind::kJsonSchema, R"({"x-guidance": {"lenient": true}})", "x-guidance"},
      {Kind::kJsonSchema, R"({"type": "string", "pattern": "("})", "unclosed group"},
      {Kind::kJsonSchema, R"({"$ref": "#"})", "no text"},
      {Kind::kJsonSchema, R"({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})",
       "no text"},
      {Kind::kRegex, "(", "unclosed group"},
      {Kind::kRegex, "a\\", "backslash"},
      {Kind::kRegex, "(?=a)b", "look-around"},
      {Kind::kRegex, "(a)\\1", "backreferences"},
      {Kind::kRegex, "[^\\x00-\\x{10FFFF}]", "no text"},
      {Kind::kRegex, "ab\xFF", "not UTF-8 at byte 2"},
      {Kind::kChoice, "[]", "no choices"},
      {Kind::kChoice, R"({"a": 1})", "array of strings"},
      {Kind::kChoice, R"(["a", 1])", "array of strings"},
      {Kind::kLark, "", "no start rule"},
      {Kind::kLark, "start: other", "other"},
      {Kind::kLark, "start: start", "no text"},
      {Kind::kLark, "start: A\nA: A", "circular"},
      {Kind::kLark, "%import nowhere.X\nstart: X", "nowhere.X"},
      {Kind::kLark, "start: <|end|> \"a\"", "special tokens"},
      {Kind::kLark, "start: <[1]> \"a\"", "no text"},  // the end token by its number
  };
  for (const auto& [kind, source, reason] : cases) {
    INFO(source);
    const std::string message = Refusal(fixture, kind, source);
    CHECK_THAT(message, Catch::StartsWith("constraint: "));
    CHECK_THAT(message, Catch::Contains(reason));
  }
}

TEST_CASE("A $ref to outside is refused wherever it stands", "[text][constraint]") {
  const ConstraintFixture fixture;
  for (const std::string uri :
       {"http://example.com/x.json", "file:///etc/passwd", "other.json", "//host/x", "urn:x"}) {
    const Json ref = {{"$ref", uri}};
    const Json deep = {{"items", {{"anyOf", {true, {{"properties", {{"p", ref}}}}}}}}};
    CHECK_THAT(Refusal(fixture, Kind::kJsonSchema, ref.dump()), Catch::Contains(uri));
    CHECK_THAT(Refusal(fixture, Kind::kJsonSchema, deep.dump()), Catch::Contains(uri));
    CHECK_THAT(Refusal(fixture, Kind::kLark, absl::StrCat("start: %json ", ref.dump())),
               Catch::Contains(uri));
  }
  // Text that a document holds is no reference.
  fixture.Compile(Kind::kJsonSchema, R"({"const": {"$ref": "http://example.com"}})");
}

TEST_CASE("What is too large is refused before it is laid out", "[text][constraint]") {
  const ConstraintFixture fixture;
  const std::string long_regex(16 * 1024 + 1, 'a');
  const std::vector<std::tuple<Kind, std::string, std::string>> cases = {
      {Kind::kChoice, absl::StrCat("[\"", std::string(64 << 10, 'a'), "\"]"), "65536 allowed"},
      {Kind::kRegex, long_regex, "16384 bytes"},
      {Kind::kLark, absl::StrCat("start: /", long_regex, "/"), "16384 bytes"},
      {Kind::kJsonSchema, Json{{"pattern", long_regex}}.dump(), "16384 bytes"},
      {Kind::kJsonSchema, Json{{"patternProperties", {{long_regex, true}}}}.dump(), "16384 bytes"},
      {Kind::kJsonSchema, R"({"type": "array", "maxItems": 1000000000})", "maxItems"},
      {Kind::kJsonSchema, R"({"type": "array", "minItems": 1e18})", "minItems"},
      {Kind::kJsonSchema, R"({"type": "string", "maxLength": 4294967297})", "maxLength"},
      {Kind::kJsonSchema, absl::StrCat(Times(200, R"({"items": )"), "true", Times(200, "}")),
       "recursion"},
      {Kind::kRegex, absl::StrCat(Times(300, "("), "a", Times(300, ")")), "nested"},
      {Kind::kLark, absl::StrCat("start: ", Times(3000, "("), "\"a\"", Times(3000, ")")), "nested"},
  };
  for (const auto& [kind, source, reason] : cases) {
    CHECK_THAT(Refusal(fixture, kind, source), Catch::Contains(reason));
  }
}

// Names that stand for two of the next one each: a text of 2^n parts from n lines.
std::string Doubling(const std::string& name, int n, const std::string& last) {
  std::string lines = absl::StrCat("start: ", name, 0, "\n");
  for (int i = 0; i < n; ++i) {
    absl::StrAppend(&lines, name, i, ": ", name, i + 1, " ", name, i + 1, "\n");
  }
  return absl::StrCat(lines, name, n, ": ", last);
}

std::string DoublingRefs(const std::string& keyword, int n) {
  Json defs;
  for (int i = 0; i < n; ++i) {
    const Json next = {{"$ref", absl::StrCat("#/$defs/d", i + 1)}};
    defs[absl::StrCat("d", i)][keyword] = {next, next};
  }
  defs[absl::StrCat("d", n)]["type"] = "object";
  return Json{{"$ref", "#/$defs/d0"}, {"$defs", defs}}.dump();
}

std::string ManyProperties(int n) {
  Json properties;
  for (int i = 0; i < n; ++i) properties[absl::StrCat("p", i)] = {{"type", "null"}};
  return Json{{"type", "object"}, {"properties", properties}}.dump();
}

// Compiles or is refused, and then every step is done or fails; nothing else. That it takes bounded
// time and memory shows in the test's ending at all: each case is exponential, or gigabytes,
// without the limits.
TEST_CASE("Hostile constraints end in good order", "[text][constraint]") {
  const ConstraintFixture fixture;
  const std::vector<std::pair<Kind, std::string>> cases = {
      {Kind::kRegex, "((a{1000}){1000}){1000}"},
      {Kind::kRegex, "(((a{1,100}){1,100}){1,100}){1,100}"},
      {Kind::kRegex, "(.*a){30}.{30}b"},
      {Kind::kRegex, "(.*)a.{40}"},
      {Kind::kRegex, "(a?){5000}a{5000}"},
      {Kind::kRegex, "(x+x+)+y"},
      {Kind::kRegex, "\\w{4000000000}"},
      {Kind::kRegex, "\\w{1,2000}\\d{1,2000}\\w{1,2000}"},
      {Kind::kRegex, Times(8000, "a?")},
      {Kind::kRegex, absl::StrCat(Times(200, "("), "a", Times(200, ")*"))},
      {Kind::kLark, "start: start start | \"a\""},
      {Kind::kLark, "start: a\na: a a a a | b | \nb: \"x\" | a"},
      {Kind::kLark, "start: (\"a\"?){100000}"},
      {Kind::kLark, Doubling("a", 40, "\"x\"")},
      {Kind::kLark, Doubling("A", 40, "\"x\"")},
      {Kind::kLark, Doubling("A", 40, "\"x\"?")},
      {Kind::kJsonSchema, absl::StrCat(Times(60, R"({"items": )"), "true", Times(60, "}"))},
      {Kind::kJsonSchema, R"({"type": "array", "minItems": 10000, "items": {"minItems": 10000}})"},
      {Kind::kJsonSchema,
       R"({"patternProperties": {"^(a|b)*a(a|b){30}$": {}, "b(a|b){30}$": {}}})"},
      {Kind::kJsonSchema, R"({"type": "number", "multipleOf": 1e-300})"},
      {Kind::kJsonSchema, R"({"type": "integer", "minimum": -1e308, "maximum": 1e308})"},
      {Kind::kJsonSchema, DoublingRefs("allOf", 40)},
      {Kind::kJsonSchema, DoublingRefs("anyOf", 40)},
      {Kind::kJsonSchema, ManyProperties(600)},
  };
  std::mt19937 random(1);
  for (const auto& [kind, source] : cases) {
    INFO(source.substr(0, 100));
    auto constraint = Constraint::Compile(*fixture.vocabulary, kind, source, kTimeless);
    absl::Status status = constraint.status();
    for (int step = 0; status.ok() && step < 40; ++step) {
      std::vector<uint32_t> words(fixture.vocabulary->num_mask_words());
      status = (*constraint)->FillMask(words);
      if (!status.ok()) break;
      std::vector<uint32_t> allowed;
      for (uint32_t id = 0; id < fixture.tokenizer->vocab_size(); ++id) {
        if (words[id / 32] >> (id % 32) & 1 && !fixture.IsEnd(id)) allowed.push_back(id);
      }
      if (allowed.empty()) break;
      status = (*constraint)->Commit(allowed[random() % allowed.size()]);
    }
    const std::string message(status.message());
    CHECK_THAT(message, !Catch::Contains("could not be stopped"));
    CHECK((status.ok() || absl::IsInvalidArgument(status)));
  }
}

TEST_CASE("A compilation has its processor time and no more", "[text][constraint]") {
  const ConstraintFixture fixture;
  // Some hundred milliseconds, of which it is given one.
  CHECK_THAT(Refusal(fixture, Kind::kLark, Doubling("A", 40, "\"x\""), {.cpu_ms = 1}),
             Catch::Contains("too much time"));
}

TEST_CASE("A constraint and its clones share one limit of memory", "[text][constraint]") {
  const ConstraintFixture fixture;
  const std::string regex = "(.*)a.{40}";
  Constraint::Limits limits = kTimeless;
  limits.memory_bytes = 20000;
  CHECK_THAT(Refusal(fixture, Kind::kRegex, regex, limits), Catch::Contains("memory"));
  limits.memory_bytes = 4 << 20;
  auto constraint = Constraint::Compile(*fixture.vocabulary, Kind::kRegex, regex, limits);
  REQUIRE(constraint.ok());
  std::vector<std::unique_ptr<Constraint>> clones;
  absl::Status status;
  while (clones.size() < 1000) {
    auto clone = (*constraint)->Clone();
    status = clone.status();
    if (!status.ok()) break;
    clones.push_back(*std::move(clone));
  }
  CHECK_THAT(std::string(status.message()), Catch::Contains("memory"));
  REQUIRE(clones.size() > 2);
  // What goes over it fails for good; what is given back can be used again.
  clones.resize(clones.size() / 2);
  CHECK((*constraint)->Clone().ok());
}

TEST_CASE("A vocabulary needs end tokens of its own", "[text][constraint]") {
  const ConstraintFixture fixture;
  const auto refusal = [&](std::vector<uint32_t> end_ids) {
    const auto vocabulary = ConstraintVocabulary::Create(*fixture.tokenizer, end_ids);
    CHECK(absl::IsInvalidArgument(vocabulary.status()));
    return std::string(vocabulary.status().message());
  };
  CHECK_THAT(refusal({}), Catch::Contains("there is none"));
  CHECK_THAT(refusal({1, 2048}), Catch::Contains("end token 2048 is not below 2048"));
}

}  // namespace
}  // namespace latentd
