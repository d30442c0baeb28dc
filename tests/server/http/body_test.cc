#include <catch2/catch.hpp>
#include <fstream>
#include <string>

#include "server/cat.h"
#include "tests/server/http/outcome.h"

namespace latentd {
namespace {

// A file of pairs: a line "> BODY", then a line "= OUTCOME".
void CheckFile(BodyRoute route, const std::string& name, int num_expected) {
  std::ifstream file("tests/server/http/bodies/" + name);
  REQUIRE(file.is_open());
  std::string body, line;
  int num_cases = 0;
  while (std::getline(file, line)) {
    if (line.rfind("> ", 0) == 0) body = line.substr(2);
    if (line.rfind("= ", 0) != 0) continue;
    INFO(body);
    CHECK(Outcome(route, body, BodyOptions()) == line.substr(2));
    ++num_cases;
  }
  CHECK(num_cases >= num_expected);
}

TEST_CASE("completion bodies") { CheckFile(BodyRoute::kCompletion, "completion.txt", 150); }
TEST_CASE("chat bodies") { CheckFile(BodyRoute::kChat, "chat.txt", 50); }
TEST_CASE("tokenize bodies") { CheckFile(BodyRoute::kTokenize, "tokenize.txt", 15); }
TEST_CASE("detokenize bodies") { CheckFile(BodyRoute::kDetokenize, "detokenize.txt", 9); }

std::string Completion(std::string_view body, BodyOptions options = {}) {
  return Outcome(BodyRoute::kCompletion, body, options);
}

TEST_CASE("bytes that are no JSON text are named") {
  using namespace std::string_literals;
  const std::string start = "400 [] [invalid_json] the body is not valid JSON: ";
  CHECK(Completion("") == "400 [] [invalid_json] the body is empty; it must be a JSON object");
  CHECK(Completion("{\"prompt\":\"a\"}\0"s) == start + "NUL at byte 15");
  CHECK(Completion("\xEF\xBB\xBF{\"prompt\":\"a\"}") == start + "byte order mark at byte 1");
  // A stray byte, an overlong form, an encoded surrogate, beyond U+10FFFF, cut short.
  for (const char* bad : {"\xFF", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    const std::string outcome = Completion(Cat("{\"prompt\":\"", bad, "\"}"));
    CHECK_THAT(outcome, Catch::StartsWith(start) && Catch::Contains("ill-formed UTF-8"));
  }
}

TEST_CASE("nesting is counted through arrays and objects") {
  const auto nested = [](int depth) {
    const int arrays = depth - 2;  // inside the body and "x"
    return Cat("{\"prompt\":\"a\",\"chat\":{\"x\":", std::string(arrays, '['),
               std::string(arrays, ']'), "}}");
  };
  BodyOptions options;
  options.max_json_depth = 10;
  options.ignore_unknown_fields = true;
  CHECK(Completion(nested(10), options) == "text: \"a\"");
  CHECK(Completion(nested(11), options) ==
        "400 [] [invalid_json] the body is not valid JSON: nested deeper than 10 levels");
  options.max_json_depth = 128;
  CHECK(Completion(nested(128), options) == "text: \"a\"");
  CHECK(Completion(nested(129), options) ==
        "400 [] [invalid_json] the body is not valid JSON: nested deeper than 128 levels");
  CHECK(Completion(std::string(1 << 20, '['), options) ==
        "400 [] [invalid_json] the body is not valid JSON: nested deeper than 128 levels");
}

TEST_CASE("unknown fields can be ignored, at every level, but not wrong types") {
  BodyOptions options;
  options.ignore_unknown_fields = true;
  CHECK(Completion(R"({"prompt":"a","foo":1,"stream":true,"stream_options":{"x":1}})", options) ==
        "text: \"a\" +stream");
  CHECK(Completion(R"({"prompt":"a","width":{"x":1}})", options) == "text: \"a\" width { }");
  CHECK(Completion(R"({"prompt":"a","n":"1"})", options) ==
        "400 [n] [] n must be an integer, not a string");
  CHECK(Completion(R"({"prompt":"a","suffix":"b"})", options) ==
        "400 [suffix] [] suffix is not served: text is only added after the prompt");
}

TEST_CASE("the number of prompts is bounded") {
  const auto prompts = [](size_t count) {
    std::string body = "{\"prompt\":[\"a\"";
    for (size_t i = 1; i < count; ++i) body += ",\"a\"";
    return body + "]}";
  };
  CHECK(ParseCompletionBody(prompts(kMaxPrompts), {})->requests.size() == kMaxPrompts);
  CHECK(Completion(prompts(kMaxPrompts + 1)) ==
        "400 [prompt] [] prompt must hold at most 128 prompts, got 129");
}

TEST_CASE("large objects take no quadratic time and large id lists keep every id") {
  std::string body = "{\"prompt\":\"a\",\"metadata\":{";
  constexpr int kKeys = 200000;  // a minute if every key were searched for among the others
  for (int i = 0; i < kKeys; ++i) body += Cat("\"k", i, "\":0,");
  body += "\"k7\":0}}";
  CHECK(Completion(body) ==
        "400 [] [invalid_json] the body is not valid JSON: duplicate key \"k7\"");

  std::string ids = "{\"prompt\":[0";
  for (int i = 1; i < kKeys; ++i) ids += Cat(",", i);
  const auto call = ParseCompletionBody(ids + "]}", {});
  REQUIRE(call.ok());
  REQUIRE(call->requests[0].token_ids().ids_size() == kKeys);
  CHECK(call->requests[0].token_ids().ids(kKeys - 1) == kKeys - 1);
}

}  // namespace
}  // namespace latentd
