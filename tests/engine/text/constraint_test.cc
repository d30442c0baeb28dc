#include "engine/text/constraint.h"

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "engine/text/utf8.h"
#include "nlohmann/json.hpp"
#include "tests/engine/text/constraint_fixture.h"
#include "tests/engine/text/nfa.h"

namespace latentd {
namespace {

using testing::ConstraintFixture;
using testing::Nfa;
using Json = nlohmann::json;
using Kind = Constraint::Kind;

// Regexes that rustc's syntax and the oracle's read alike.
const std::vector<std::string> kRegexes = {
    "",
    "a",
    "(yes|no|yesterday)",
    "[0-9]+(\\.[0-9]+)?",
    "(ab|a)*c",
    "((a|b)*(c|d))+",
    "[A-Z][a-z]* (the |of )*[A-Z][a-z]*!",
    "a?a?a?a?aaaa",
    "(é|ü|日本)*x?",
    "\\{\"a\": ?[0-9]+\\}",
    "https?://[a-z]+(/[a-z0-9]*)*",
    "line\n(more\n)*",
};

// Every mask of a random text against the oracle, both ways.
void CheckAgainstOracle(const ConstraintFixture& fixture, const std::string& regex,
                        std::mt19937& random) {
  INFO("regex " << regex);
  const Nfa oracle(regex);
  const auto constraint = fixture.Compile(Kind::kRegex, regex);
  Nfa::States states = oracle.Start();
  std::string text;
  for (int step = 0; step < 16; ++step) {
    INFO("after '" << text << "'");
    const std::vector<bool> mask = fixture.Mask(*constraint);
    const auto state = fixture.State(*constraint);
    CHECK(state.is_accepting == oracle.Accepts(states));
    std::vector<uint32_t> allowed;
    for (uint32_t id = 0; id < mask.size(); ++id) {
      const std::string_view bytes = fixture.tokenizer->TokenBytesView(id);
      const bool is_text = !bytes.empty() && !fixture.tokenizer->IsSpecial(id);
      const bool fits = is_text && !oracle.Advance(states, bytes).empty();
      const bool expected = fixture.IsEnd(id) ? state.is_accepting : fits;
      if (mask[id] != expected) FAIL("token " << id << " '" << bytes << "' in mask: " << mask[id]);
      if (fits) allowed.push_back(id);
    }
    CHECK(state.is_finished == allowed.empty());
    if (allowed.empty()) break;
    const uint32_t id = allowed[random() % allowed.size()];
    REQUIRE(constraint->Commit(id).ok());
    states = oracle.Advance(states, fixture.tokenizer->TokenBytesView(id));
    text += fixture.tokenizer->TokenBytes(id);
  }
}

TEST_CASE("A mask holds exactly the tokens that keep a text a prefix of the language",
          "[text][constraint]") {
  const ConstraintFixture fixture;
  std::mt19937 random(1);
  for (const std::string& regex : kRegexes) {
    for (int round = 0; round < 3; ++round) CheckAgainstOracle(fixture, regex, random);
  }
}

TEST_CASE("Masks are exact where several tokens have the same bytes", "[text][constraint]") {
  const ConstraintFixture fixture("tests/engine/text/data/byte_fallback");
  std::mt19937 random(2);
  for (const std::string& regex : kRegexes) CheckAgainstOracle(fixture, regex, random);
}

TEST_CASE("A walk under the mask of a regex ends in a text of the language", "[text][constraint]") {
  const ConstraintFixture fixture;
  std::mt19937 random(3);
  for (const std::string& regex : kRegexes) {
    INFO("regex " << regex);
    const Nfa oracle(regex);
    for (int round = 0; round < 10; ++round) {
      const std::string text = fixture.Walk(*fixture.Compile(Kind::kRegex, regex), random);
      INFO("text " << text);
      CHECK(oracle.Accepts(oracle.Advance(oracle.Start(), text)));
    }
  }
}

constexpr char kSchema[] = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 12},
    "age": {"type": "integer", "minimum": 0, "maximum": 130},
    "tags": {"type": "array", "items": {"enum": ["red", "gr\"een", 3, null]},
             "minItems": 1, "maxItems": 3},
    "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/pair"}]}
  },
  "required": ["name", "age", "next"],
  "additionalProperties": false,
  "$defs": {"pair": {"type": "array", "prefixItems": [{"type": "boolean"}, {"const": {"k": 1.5}}],
                     "minItems": 2, "items": false}}
})";

// What kSchema says, once more by hand.
void CheckDocument(const Json& document) {
  REQUIRE(document.is_object());
  for (const auto& [key, value] : document.items()) {
    CHECK((key == "name" || key == "age" || key == "tags" || key == "next"));
  }
  REQUIRE(document.at("name").is_string());
  size_t length = 0;  // in characters: bytes that do not continue one
  for (const char c : document["name"].get<std::string>()) length += (c & 0xC0) != 0x80;
  CHECK(length <= 12);
  REQUIRE(document.at("age").is_number_integer());
  CHECK(document["age"] >= 0);
  CHECK(document["age"] <= 130);
  if (document.contains("tags")) {
    CHECK((document["tags"].size() >= 1 && document["tags"].size() <= 3));
    for (const Json& tag : document["tags"]) {
      CHECK((tag == "red" || tag == "gr\"een" || tag == 3 || tag == nullptr));
    }
  }
  const Json& next = document.at("next");
  if (!next.is_null()) {
    REQUIRE(next.size() == 2);
    CHECK(next[0].is_boolean());
    CHECK(next[1] == Json{{"k", 1.5}});
  }
}

// Whether `text` may still become JSON: parsing fails at its end, if at all.
struct EndOnly : nlohmann::json_sax<Json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_unsigned(uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(std::string&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    at = position;
    return false;
  }
  size_t at = SIZE_MAX;
};

TEST_CASE("A walk under the mask of a JSON Schema is JSON all along and ends valid",
          "[text][constraint]") {
  const ConstraintFixture fixture;
  const auto compiled = fixture.Compile(Kind::kJsonSchema, kSchema);
  std::mt19937 random(4);
  size_t with_tags = 0, with_pair = 0;
  for (int round = 0; round < 60; ++round) {
    auto constraint = compiled->Clone();
    REQUIRE(constraint.ok());
    const std::string text = fixture.Walk(**constraint, random);
    INFO(text);
    for (size_t length = 0; length <= text.size(); ++length) {
      Utf8Stream whole;
      std::string prefix;
      whole.Append(text.substr(0, length), &prefix);
      EndOnly sax;
      // The parser counts the end as one more byte. What parses is a prefix as well.
      if (!Json::sax_parse(prefix, &sax)) REQUIRE(sax.at > prefix.size());
    }
    REQUIRE(Json::accept(text));
    const Json document = Json::parse(text);
    CheckDocument(document);
    with_tags += document.contains("tags");
    with_pair += !document["next"].is_null();
  }
  CHECK(with_tags > 0);
  CHECK(with_pair > 0);
}

TEST_CASE("Choices are taken literally", "[text][constraint]") {
  const ConstraintFixture fixture;
  const std::vector<std::string> choices = {"a.b",  "(x|y)*", "",        "new\nline / \\",
                                            "日本", "\"q\"",  "positive"};
  std::mt19937 random(5);
  std::set<std::string> seen;
  for (int round = 0; round < 200; ++round) {
    const auto constraint = fixture.Compile(Kind::kChoice, Json(choices).dump());
    seen.insert(fixture.Walk(*constraint, random));
  }
  CHECK(seen == std::set<std::string>(choices.begin(), choices.end()));
}

TEST_CASE("A Lark grammar balances its brackets", "[text][constraint]") {
  const ConstraintFixture fixture;
  std::mt19937 random(6);
  for (int round = 0; round < 30; ++round) {
    const auto constraint = fixture.Compile(
        Kind::kLark, "start: pair\npair: \"(\" pair? \")\" | \"[\" pair? \"]\" | /[a-c]/");
    const std::string text = fixture.Walk(*constraint, random);
    INFO(text);
    std::string open;
    for (const char c : text) {
      if (c == '(' || c == '[') open += c;
      if (c != ')' && c != ']') continue;
      REQUIRE_FALSE(open.empty());
      CHECK(open.back() == (c == ')' ? '(' : '['));
      open.pop_back();
    }
    CHECK(open.empty());
  }
}

TEST_CASE("A token outside the mask is refused and changes nothing", "[text][constraint]") {
  const ConstraintFixture fixture;
  const auto constraint = fixture.Compile(Kind::kRegex, "ab+");
  const uint32_t a = *fixture.tokenizer->TokenId("a"), b = *fixture.tokenizer->TokenId("b");
  REQUIRE(constraint->Commit(a).ok());
  const auto before = fixture.Mask(*constraint);
  const uint32_t bos = *fixture.tokenizer->bos_id();
  for (const uint32_t id :
       {a, fixture.end_ids[0], bos, fixture.tokenizer->vocab_size(), UINT32_MAX}) {
    const absl::Status status = constraint->Commit(id);
    CHECK(absl::IsInvalidArgument(status));
    CHECK(status.message() ==
          "constraint: token " + std::to_string(id) + " does not fit the constraint here");
  }
  CHECK(fixture.Mask(*constraint) == before);
  REQUIRE(constraint->Commit(b).ok());
  REQUIRE(fixture.State(*constraint).is_accepting);
  // After the end there is the end alone, whichever of the tokens it was.
  REQUIRE(constraint->Commit(fixture.end_ids.back()).ok());
  const auto mask = fixture.Mask(*constraint);
  CHECK(static_cast<size_t>(std::count(mask.begin(), mask.end(), true)) == fixture.end_ids.size());
  CHECK(fixture.State(*constraint).is_finished);
  CHECK_FALSE(constraint->Commit(b).ok());
}

TEST_CASE("Clones go their own ways and outlive what they came from", "[text][constraint]") {
  auto fixture = std::make_unique<ConstraintFixture>();
  auto first = fixture->Compile(Kind::kRegex, "a(b|c)d");
  const uint32_t a = *fixture->tokenizer->TokenId("a"), b = *fixture->tokenizer->TokenId("b"),
                 c = *fixture->tokenizer->TokenId("c"), d = *fixture->tokenizer->TokenId("d");
  REQUIRE(first->Commit(a).ok());
  auto second = first->Clone();
  REQUIRE(second.ok());
  REQUIRE(first->Commit(b).ok());
  first.reset();
  fixture.reset();
  CHECK_FALSE((*second)->Commit(d).ok());
  REQUIRE((*second)->Commit(c).ok());
  REQUIRE((*second)->Commit(d).ok());
  CHECK((*second)->GetState()->is_finished);
}

}  // namespace
}  // namespace latentd
