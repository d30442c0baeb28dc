// Completions and chat, whole and streamed: shapes.
#include <catch2/catch.hpp>
#include <string>

#include "tests/server/http/generate_fixture.h"

namespace latentd {
namespace {

const char kEnd[] =
    "finish_reason: FINISH_REASON_LENGTH usage { prompt_tokens: 3 completion_tokens: 2 }";
const std::string kHead =
    R"({"id":"cmpl-ID","object":"text_completion","created":1,"model":"org/model",)"
    R"("system_fingerprint":"latentd-1.2.3",)";
const std::string kChunk =
    R"({"id":"chatcmpl-ID","object":"chat.completion.chunk","created":1,"model":"org/model",)"
    R"("system_fingerprint":"latentd-1.2.3",)";

TEST_CASE("a whole completion") {
  CHECK(Completion(R"({"prompt":"hi"})", {"text: 'Hel'", Cat("text: 'lo\\n\\303\\251' ", kEnd)}) ==
        kHead + R"("choices":[{"index":0,"text":"Hello\né","logprobs":null,)"
                R"("finish_reason":"length","stop_reason":null}],)"
                R"("usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})");
}

TEST_CASE("a whole chat answer") {
  const RawResponse response =
      Answer("/v1/chat/completions", R"({"model":"m","messages":[{"role":"user","content":"hi"}]})",
             {"text: 'Hel'",
              "text: 'lo' finish_reason: FINISH_REASON_STOP matched_token_id: 2 "
              "usage { prompt_tokens: 3 completion_tokens: 2 }"});
  CHECK(response.status == 200);
  CHECK(response.headers.at("content-type") == "application/json");
  CHECK(response.headers.at("x-request-id").rfind("chatcmpl-", 0) == 0);
  CHECK(response.body ==
        R"({"id":"chatcmpl-ID","object":"chat.completion","created":1,"model":"m",)"
        R"("system_fingerprint":"latentd-1.2.3","choices":[{"index":0,"message":)"
        R"({"role":"assistant","content":"Hello","refusal":null},"logprobs":null,)"
        R"("finish_reason":"stop","stop_reason":null}],)"
        R"("usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})");
}

TEST_CASE("a streamed completion") {
  const RawResponse response = Answer("/v1/completions", R"({"prompt":"hi","stream":true})",
                                      {"text: 'Hel'", "token_ids: 5", "text: 'lo'", kEnd});
  CHECK(response.status == 200);
  CHECK(response.chunked);
  CHECK(response.headers.at("content-type") == "text/event-stream");
  const std::string start = kHead + R"("choices":[{"index":0,"text":)";
  CHECK(EventData(response.body) ==
        start + R"("Hel","logprobs":null,"finish_reason":null}]})" + "\n" + start +
            R"("lo","logprobs":null,"finish_reason":null}]})" + "\n" + start +
            R"("","logprobs":null,"finish_reason":"length","stop_reason":null}]})" + "\n[DONE]\n");
}

TEST_CASE("a streamed chat answer: role, text, finish reason, usage") {
  const std::string events =
      EventData(Chat(R"(,"stream":true,"stream_options":{"include_usage":true})",
                     {"token_ids: 5", "text: 'Hel' token_ids: 6", Cat("text: 'lo' ", kEnd)}));
  const auto choice = [](const std::string& delta, const std::string& finish) {
    return kChunk + R"("choices":[{"index":0,"delta":)" + delta +
           R"(,"logprobs":null,"finish_reason":)" + finish + R"(}],"usage":null})" + "\n";
  };
  CHECK(events == choice(R"({"role":"assistant","content":""})", "null") +
                      choice(R"({"content":"Hel"})", "null") +
                      choice(R"({"content":"lo"})", "null") +
                      choice("{}", R"("length","stop_reason":null)") + kChunk +
                      R"("choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,)"
                      R"("total_tokens":5}})" +
                      "\n[DONE]\n");
}

TEST_CASE("choices of several prompts are indexed prompt-major and usage is summed") {
  DoorFixture fixture;
  RawClient client(fixture.port());
  client.Send(Post("/v1/completions", R"({"prompt":["a","b"],"n":2})"));
  for (const char* prompt : {"a", "b"}) {
    const auto call = fixture.service.NextCall();
    CHECK(call->request.text() == prompt);
    CHECK_THAT(call->request.request_id(), Catch::EndsWith(*prompt == 'a' ? "-0" : "-1"));
    call->Send(Cat("choice: 1 text: '", prompt, "1' finish_reason: FINISH_REASON_STOP"));
    call->Send(Cat("choice: 0 text: '", prompt, "0' ", kEnd));
    call->End();
  }
  const std::string body = client.Read().body;
  size_t at = 0;
  for (const char* part :
       {R"("index":0,"text":"a0")", R"("index":1,"text":"a1")", R"("index":2,"text":"b0")",
        R"("index":3,"text":"b1")",
        R"("usage":{"prompt_tokens":6,"completion_tokens":4,"total_tokens":10})"}) {
    INFO(body);
    REQUIRE((at = body.find(part, at)) != std::string::npos);
  }
}

TEST_CASE("token ids where they are asked for, without those of an echo") {
  const std::string ids = R"("token_ids":[7],"prompt_token_ids":[1,2])";
  CHECK_THAT(Completion(R"({"prompt":[1,2],"n":2,"echo":true,"return_token_ids":true})", kEcho),
             Catch::Contains(ids));
  CHECK_THAT(Completion(R"({"prompt":"ab","return_token_ids":true})",
                        {Cat("text: 'x' token_ids: [5, 6] ", kEnd)}),
             Catch::Contains(R"("token_ids":[5,6],"prompt_token_ids":[97,98])"));
  const Script script = {"text: 'x' token_ids: 5", "token_ids: 6", kEnd};
  CHECK_THAT(
      Chat(R"(,"return_token_ids":true)", script),
      Catch::Contains(R"("token_ids":[5,6])") && Catch::EndsWith(R"("prompt_token_ids":[1000]})"));
  const std::string events = EventData(Chat(R"(,"return_token_ids":true,"stream":true)", script));
  CHECK_THAT(events, Catch::Contains(R"("delta":{"role":"assistant","content":""},)"
                                     R"("logprobs":null,"finish_reason":null}],)"
                                     R"("prompt_token_ids":[1000]})"));
  CHECK_THAT(events,
             Catch::Contains(R"("token_ids":[5])") && Catch::Contains(R"("token_ids":[6])"));
  const std::string streamed = EventData(Completion(
      R"({"prompt":[1,2],"n":2,"echo":true,"return_token_ids":true,"stream":true})", kEcho));
  CHECK_THAT(streamed, Catch::Contains(R"("prompt_token_ids":[1,2],"token_ids":[]})") &&
                           Catch::Contains(R"("token_ids":[8]})"));
}

TEST_CASE("the width used is told for elastic models only") {
  const Script script = {Cat("text: 'x' width { q: 64 kv: 32 } ", kEnd)};
  const std::string width = R"("width":{"q":64,"kv":32})";
  CHECK_THAT(Completion(R"({"prompt":"hi"})", script, true), Catch::Contains(width));
  CHECK_THAT(Completion(R"({"prompt":"hi","stream":true})", script, true), Catch::Contains(width));
  CHECK_THAT(Completion(R"({"prompt":"hi"})", script), !Catch::Contains("width"));
}

TEST_CASE("stop_reason names a stop of the request's own") {
  const std::string body = R"({"prompt":"hi","stop":["x"],"stop_token_ids":[9]})";
  const std::string stop = "finish_reason: FINISH_REASON_STOP ";
  CHECK_THAT(Completion(body, {stop + "matched_stop: 'x'"}),
             Catch::Contains(R"("finish_reason":"stop","stop_reason":"x")"));
  CHECK_THAT(Completion(body, {stop + "matched_token_id: 9"}),
             Catch::Contains(R"("stop_reason":9)"));
  CHECK_THAT(Completion(body, {stop + "matched_token_id: 2"}),
             Catch::Contains(R"("stop_reason":null)"));
}

TEST_CASE("text that is no UTF-8 harms nobody") {
  CHECK_THAT(Completion(R"({"prompt":"hi"})", {Cat("text: 'a\\377b' ", kEnd)}),
             Catch::Contains("\"text\":\"a\xEF\xBF\xBD"
                             "b\""));
}

TEST_CASE("what the service is called with") {
  DoorFixture fixture({}, [](FakeService* service) { service->answer = AnswerOk; });
  const auto before = std::chrono::steady_clock::now();
  fixture.Ask(Post("/v1/completions", R"({"prompt":"hi","timeout":1000})"));
  auto call = fixture.service.NextCall();
  CHECK_FALSE(call->context.chat_defaults);
  CHECK(call->context.received >= before);
  REQUIRE(call->context.deadline.has_value());
  CHECK(*call->context.deadline - call->context.received == std::chrono::seconds(1000));
  CHECK(call->request.request_id().size() == 37);
  fixture.Ask(Post("/v1/chat/completions", R"({"messages":[],"timeout":1e300})"));
  call = fixture.service.NextCall();
  CHECK(call->context.chat_defaults);
  CHECK(*call->context.deadline > before + std::chrono::hours(24 * 300));
  fixture.Ask(Post("/v1/chat/completions", R"({"messages":[]})"));
  CHECK_FALSE(fixture.service.NextCall()->context.deadline.has_value());
}

}  // namespace
}  // namespace latentd
