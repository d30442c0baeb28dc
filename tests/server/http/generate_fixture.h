// Whole answers of the HTTP door to what a service says.
#pragma once

#include <regex>
#include <string>
#include <vector>

#include "server/cat.h"
#include "tests/server/http/door_fixture.h"

namespace latentd {

using Script = std::vector<std::string>;  // messages in text format

// The answer to `body` when the service says `script`, then ends; ids and times are made constant.
inline RawResponse Answer(const std::string& path, const std::string& body, const Script& script,
                          bool elastic = false) {
  DoorFixture fixture({}, [&](FakeService* service) {
    service->elastic = elastic;
    service->answer = [&script](FakeCall* call) {
      for (const std::string& message : script) call->Send(message);
      call->End();
    };
  });
  RawResponse response = fixture.Ask(Post(path, body));
  response.body = std::regex_replace(response.body, std::regex("cmpl-[0-9a-f]{32}\""), "cmpl-ID\"");
  response.body =
      std::regex_replace(response.body, std::regex("\"created\":[0-9]+"), "\"created\":1");
  return response;
}

inline std::string Completion(const std::string& body, const Script& script, bool elastic = false) {
  return Answer("/v1/completions", body, script, elastic).body;
}
inline std::string Chat(const std::string& fields, const Script& script) {
  return Answer("/v1/chat/completions",
                Cat(R"({"messages":[{"role":"user","content":"hi"}])", fields, "}"), script)
      .body;
}

inline constexpr char kEnd[] =
    "finish_reason: FINISH_REASON_LENGTH usage { prompt_tokens: 3 completion_tokens: 2 }";
inline const std::string kHead =
    R"({"id":"cmpl-ID","object":"text_completion","created":1,"model":"org/model",)"
    R"("system_fingerprint":"latentd-1.2.3",)";
inline const std::string kChunk =
    R"({"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1,"model":"org/model",)"
    R"("system_fingerprint":"latentd-1.2.3",)";

inline const Script kEcho = {
    "text: 'pq' token_ids: [1, 2]", "choice: 1 text: 'pq' token_ids: [1, 2]",
    "prompt_logprobs { token_id: 1 token: 'p' token_bytes: 'p' } "
    "prompt_logprobs { token_id: 2 token: 'q' token_bytes: 'q' logprob: -2 rank: 4 "
    "  top { token_id: 3 token: 'r' token_bytes: 'r' logprob: -1 rank: 1 } }",
    "text: 'x' token_ids: 7 finish_reason: FINISH_REASON_STOP "
    "logprobs { token_id: 7 token: 'x' token_bytes: 'x' logprob: -0.5 rank: 1 }",
    "choice: 1 text: 'y' token_ids: 8 finish_reason: FINISH_REASON_STOP "
    "logprobs { token_id: 8 token: 'y' token_bytes: 'y' logprob: -0.5 rank: 1 } "
    "usage { prompt_tokens: 2 completion_tokens: 2 }"};

}  // namespace latentd
