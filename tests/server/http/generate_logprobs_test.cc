// Log-probabilities in the shapes of OpenAI and vLLM.
#include <catch2/catch.hpp>
#include <string>

#include "tests/server/http/generate_fixture.h"

namespace latentd {
namespace {

const char kTokens[] =
    "logprobs { token_id: 7 token: 'x' token_bytes: 'x' logprob: -0.5 rank: 1 "
    "  top { token_id: 7 token: 'x' token_bytes: 'x' logprob: -0.5 rank: 1 } "
    "  top { token_id: 8 token: '\\357\\277\\275' token_bytes: '\\303' logprob: -1.5 rank: 2 } } "
    "logprobs { token_id: 9 token: '\\357\\277\\275' token_bytes: '\\251' logprob: -inf rank: 3 "
    "  top { token_id: 7 token: 'x' token_bytes: 'x' logprob: -0.25 rank: 1 } } ";

TEST_CASE("logprobs in the legacy shape: the token is among its alternatives") {
  const std::string body =
      Completion(R"({"prompt":"hi","logprobs":2})", {Cat("text: 'x' ", kTokens, kEnd)});
  CHECK_THAT(body, Catch::Contains(R"("logprobs":{"text_offset":[0,1],"token_logprobs":)"
                                   R"([-0.5,-9999.0],"tokens":["x","�"],"top_logprobs":)"
                                   R"([{"x":-0.5,"�":-1.5},{"�":-9999.0,"x":-0.25}]})"));
  CHECK_THAT(Completion(R"({"prompt":"hi","logprobs":0})", {Cat("text: 'x' ", kTokens, kEnd)}),
             Catch::Contains(R"("top_logprobs":[{"x":-0.5},{"�":-9999.0}]})"));
}

TEST_CASE("a token inside a character has that character's offset") {
  std::string message = "text: 'x' ";
  for (const char* bytes : {"x", "\\342", "\\202", "\\254y", "\\360\\237", "\\230\\200", "z"}) {
    message += Cat("logprobs { token: '?' token_bytes: '", bytes, "' logprob: -1 } ");
  }
  CHECK_THAT(Completion(R"({"prompt":"hi","logprobs":0})", {message + kEnd}),
             Catch::Contains(R"("text_offset":[0,1,1,1,3,3,4])"));
}

TEST_CASE("logprobs in the shape of chat, whole and streamed") {
  const std::string content =
      R"({"content":[{"token":"x","logprob":-0.5,"bytes":[120],"top_logprobs":)"
      R"([{"token":"x","logprob":-0.5,"bytes":[120]},{"token":"�","logprob":-1.5,"bytes":[195]}]},)"
      R"({"token":"�","logprob":-9999.0,"bytes":[169],"top_logprobs":)"
      R"([{"token":"x","logprob":-0.25,"bytes":[120]}]}],"refusal":null})";
  const Script script = {Cat("text: 'x' ", kTokens, kEnd)};
  CHECK_THAT(Chat(R"(,"logprobs":true,"top_logprobs":2)", script),
             Catch::Contains(R"("logprobs":)" + content));
  CHECK_THAT(Chat(R"(,"logprobs":true,"top_logprobs":2,"stream":true)", script),
             Catch::Contains(R"("delta":{"content":"x"},"logprobs":)" + content));
}

TEST_CASE("an echoed prompt has its logprobs in every choice; the first token has null") {
  const std::string body = Completion(R"({"prompt":[1,2],"n":2,"echo":true,"logprobs":1})", kEcho);
  for (const char* c : {"x", "y"}) {
    CHECK_THAT(body, Catch::Contains(Cat(
                         R"("text":"pq)", c, R"(","logprobs":{"text_offset":[0,1,2],)",
                         R"("token_logprobs":[null,-2.0,-0.5],"tokens":["p","q",")", c,
                         R"("],"top_logprobs":[null,{"q":-2.0,"r":-1.0},{")", c, R"(":-0.5}]})")));
  }
  const std::string events = EventData(
      Completion(R"({"prompt":[1,2],"n":2,"echo":true,"logprobs":1,"stream":true})", kEcho));
  for (const char* index : {"0", "1"}) {
    CHECK_THAT(events,
               Catch::Contains(Cat(R"("index":)", index, R"(,"text":"pq","logprobs":null)")));
    CHECK_THAT(
        events,
        Catch::Contains(Cat(
            R"("index":)", index, R"(,"text":"","logprobs":{"text_offset":[0,1],"token_logprobs":)",
            R"([null,-2.0],"tokens":["p","q"],"top_logprobs":[null,{"q":-2.0,"r":-1.0}]})")));
  }
  CHECK_THAT(events, Catch::Contains(R"("text":"y","logprobs":{"text_offset":[2])"));
}

TEST_CASE("a mark at the prompt's beginning, which is not in its text, moves no offset") {
  const auto script = [](const std::string& first, const std::string& text) -> Script {
    return {Cat("text: '", text, "' token_ids: [1, 2]"),
            Cat("prompt_logprobs { token_id: 1 token: 'f' token_bytes: '", first, "' } ",
                "prompt_logprobs { token_id: 2 token: 'q' token_bytes: 'q' logprob: -2 rank: 4 }"),
            Cat("text: 'x' ", kEnd,
                "logprobs { token_id: 7 token: 'x' token_bytes: 'x' logprob: -0.5 rank: 1 }")};
  };
  struct Case {
    const char *first, *text, *prompt_offsets, *generated_offset;
  };
  for (const Case& c : {Case{"<s>", "q", "0,0", "1"}, Case{"ab", "abq", "0,2", "3"},
                        Case{"<s>", "<s>q", "0,3", "4"}}) {
    const std::string body = R"({"prompt":[1,2],"echo":true,"logprobs":0)";
    CHECK_THAT(
        Completion(body + "}", script(c.first, c.text)),
        Catch::Contains(Cat("\"text_offset\":[", c.prompt_offsets, ",", c.generated_offset, "],")));
    const std::string events = Completion(body + ",\"stream\":true}", script(c.first, c.text));
    CHECK_THAT(events, Catch::Contains(Cat("\"text_offset\":[", c.prompt_offsets, "],")));
    CHECK_THAT(events, Catch::Contains(Cat("\"text_offset\":[", c.generated_offset, "],")));
  }
}

TEST_CASE("prompt_logprobs in vLLM's spelling") {
  const std::string list =
      R"("prompt_logprobs":[null,{"2":{"logprob":-2.0,"rank":4,"decoded_token":"q"},)"
      R"("3":{"logprob":-1.0,"rank":1,"decoded_token":"r"}}])";
  const Script script = {kEcho[2], Cat("text: 'x' ", kEnd)};
  CHECK_THAT(Completion(R"({"prompt":"hi","prompt_logprobs":1})", script), Catch::Contains(list));
  CHECK_THAT(Chat(R"(,"prompt_logprobs":1)", script), Catch::Contains("}," + list + "}"));
  CHECK_THAT(Completion(R"({"prompt":"hi"})", script), !Catch::Contains("prompt_logprobs"));
}

}  // namespace
}  // namespace latentd
