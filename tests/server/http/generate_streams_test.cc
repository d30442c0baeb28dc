// Answers that go wrong, and clients that leave or do not read.
#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/http/generate_fixture.h"

namespace latentd {
namespace {

TEST_CASE("a list that the service refuses starts none of its prompts and is not counted again") {
  DoorFixture fixture({}, [](FakeService* service) {
    service->check = [](const v1::GenerateRequest& request) {
      return request.text() == "b" ? Full("the server is full", 7) : absl::OkStatus();
    };
  });
  RawClient client(fixture.port());
  for (const char* stream : {"true", "false"}) {
    client.Send(Post("/v1/completions", Cat(R"({"prompt":["a","b","c"],"stream":)", stream, "}")));
    const RawResponse response = client.Read();
    CHECK(response.status == 503);
    CHECK(response.headers.at("retry-after") == "7");
    CHECK(response.body == R"({"error":{"message":"the server is full","type":"server_error",)"
                           R"("param":null,"code":"overloaded"}})");
  }
  client.Send(Post("/v1/completions", R"({"prompt":"next"})"));
  CHECK(fixture.service.NextCall()->request.text() == "next");
  CHECK(fixture.metrics.refused() == 0);
}

TEST_CASE("an error before the first byte has its status, later it is an event without [DONE]") {
  DoorFixture fixture;
  RawClient client(fixture.port());
  const auto late = absl::DeadlineExceededError("the deadline has passed");
  client.Send(Post("/v1/completions", R"({"prompt":"hi","stream":true})"));
  fixture.service.NextCall()->End(late);
  CHECK(client.Read().status == 504);

  client.Send(Post("/v1/completions", R"({"prompt":"hi","stream":true})"));
  auto call = fixture.service.NextCall();
  call->Send("text: 'a'");
  client.ReadUntil("\"text\":\"a\"");
  call->End(late);
  const std::string rest = client.ReadUntil("\r\n0\r\n\r\n");
  CHECK_THAT(rest, Catch::Contains("data: {\"error\":{\"message\":\"the deadline has passed\"") &&
                       !Catch::Contains("[DONE]"));

  client.Send(Post("/v1/completions", R"({"prompt":"hi"})"));
  call = fixture.service.NextCall();
  call->Send("text: 'a'");
  call->End(late);
  const RawResponse whole = client.Read();
  CHECK(whole.status == 504);
  CHECK_THAT(whole.body, Catch::StartsWith(R"({"error":)"));

  client.Send(Post("/v1/completions", R"({"prompt":["a","b"],"stream":true})"));
  const auto good = fixture.service.NextCall(), bad = fixture.service.NextCall();
  good->Send("text: 'a'");
  client.ReadUntil("\"text\":\"a\"");
  bad->End(late);
  client.ReadUntil("\r\n0\r\n\r\n");
  good->AwaitCancelled();  // with one prompt failed, the others are of no use
  client.Send(Get("/health"));
  CHECK(client.Read().status == 200);
}

TEST_CASE("a client that leaves cancels its request at once") {
  DoorFixture fixture;
  const auto leave = GENERATE(&RawClient::CloseSend, &RawClient::Reset);
  const bool stream = GENERATE(false, true);
  const bool begun = GENERATE(false, true);
  RawClient client(fixture.port());
  client.Send(
      Post("/v1/completions", Cat(R"({"prompt":"hi","stream":)", stream ? "true" : "false", "}")));
  const auto call = fixture.service.NextCall();
  if (begun) {
    call->Send("text: 'a'");
    call->AwaitTaken();
    if (stream) client.ReadUntil("\"text\":\"a\"");
  }
  (client.*leave)();
  call->AwaitCancelled();
  CHECK(fixture.Ask(Get("/health")).status == 200);
}

TEST_CASE("an answer of the service that comes after the client or the door has gone is dropped") {
  DoorFixture fixture({}, [](FakeService* service) { service->hold = true; });
  RawClient client(fixture.port()), other(fixture.port());
  const std::string request = Post("/v1/completions", R"({"prompt":"hi"})");
  client.Send(request);
  const auto first = fixture.service.NextHeld();
  other.Send(request);
  const auto second = fixture.service.NextHeld();
  client.CloseSend();
  CHECK(client.AtEnd());       // the door does not wait for the service
  other.Send(Get("/health"));  // pipelined: waits for its turn
  first();
  fixture.service.NextCall()->AwaitCancelled();
  fixture.door.reset();
  second();
  fixture.service.NextCall()->AwaitCancelled();
}

TEST_CASE("a deadline that passes while the service prepares is answered then") {
  DoorFixture fixture({}, [](FakeService* service) { service->hold = true; });
  RawClient client(fixture.port());
  client.Send(Post("/v1/completions", R"({"prompt":"hi","timeout":1e-9})"));
  const RawResponse response = client.Read();  // though the service has not answered
  CHECK(response.status == 504);
  CHECK_THAT(response.body, Catch::Contains("the deadline passed before"));
  const auto late = fixture.service.NextHeld();
  const auto call = fixture.service.NextCall();
  client.Send(Get("/health"));
  CHECK(client.Read().status == 200);
  CHECK(call->context.left());
  late();
  call->AwaitCancelled();
}

TEST_CASE("the service can ask whether the client still waits") {
  for (const char* path : {"/v1/completions", "/tokenize"}) {
    CAPTURE(path);
    DoorFixture fixture({}, [](FakeService* service) { service->hold = true; });
    RawClient client(fixture.port());
    client.Send(Post(path, R"({"prompt":"hi"})"));
    const FakeService::Held held = fixture.service.NextHeld();
    REQUIRE(held.context.left);
    CHECK_FALSE(held.context.left());
    client.CloseSend();
    CHECK(client.AtEnd());
    CHECK(held.context.left());
    held();  // to nobody
  }
}

// How many of the call's messages wait once the door takes no more of them. Round trips on another
// connection let the door's thread run.
size_t SettledWaiting(DoorFixture* fixture, const FakeCall& call) {
  RawClient other(fixture->port());
  size_t waiting = call.num_waiting();
  for (int same = 0; same < 200;) {
    other.Send(Get("/health"));
    other.Read();
    const size_t now = call.num_waiting();
    same = now == waiting ? same + 1 : 0;
    waiting = now;
  }
  return waiting;
}

TEST_CASE("a client that does not read pauses its own request, and nothing piles up") {
  DoorFixture fixture;
  RawClient slow(fixture.port(), /*receive_buffer=*/4096), other(fixture.port());
  slow.Send(Post("/v1/completions", R"({"prompt":"hi","stream":true})"));
  const auto call = fixture.service.NextCall();
  constexpr int kMessages = 500;
  const std::string text(20000, 'x');
  for (int i = 0; i < kMessages; ++i) call->Send(Cat("text: '", text, "'"));
  call->Send(kEnd);
  call->End();
  const size_t waiting = SettledWaiting(&fixture, *call);
  // What the kernel's send buffer holds (at most 4 MiB by default) and one batch of events.
  CHECK(waiting > kMessages - (4u << 20) / text.size() - 10);
  other.Send(Post("/v1/completions", R"({"prompt":"hi"})"));
  AnswerOk(fixture.service.NextCall().get());
  CHECK(other.Read().status == 200);
  CHECK(call->num_waiting() == waiting);
  const RawResponse response = slow.Read();
  CHECK_THAT(response.body, Catch::EndsWith("data: [DONE]\n\n"));
  CHECK(response.body.size() > kMessages * text.size());
}

TEST_CASE("a client that leaves while it is written to cancels, too") {
  DoorFixture fixture;
  const auto leave = GENERATE(&RawClient::CloseSend, &RawClient::Reset);
  RawClient slow(fixture.port(), /*receive_buffer=*/4096);
  slow.Send(Post("/v1/completions", R"({"prompt":"hi","stream":true})"));
  const auto call = fixture.service.NextCall();
  for (int i = 0; i < 1000; ++i) call->Send(Cat("text: '", std::string(20000, 'x'), "'"));
  CHECK(SettledWaiting(&fixture, *call) > 0);
  (slow.*leave)();
  call->AwaitCancelled();
}

TEST_CASE("two hundred streams at once") {
  DoorFixture fixture;
  constexpr int kStreams = 200, kRounds = 5;
  std::vector<std::unique_ptr<RawClient>> clients;
  std::vector<std::shared_ptr<FakeCall>> calls(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<RawClient>(fixture.port()));
    clients.back()->Send(Post("/v1/completions", Cat(R"({"prompt":")", i, R"(","stream":true})")));
  }
  for (int i = 0; i < kStreams; ++i) {
    auto call = fixture.service.NextCall();
    calls[std::stoul(call->request.text())] = call;
  }
  std::thread engine([&calls] {
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < kStreams; ++i) calls[i]->Send(Cat("text: '", i, ".", round, "'"));
    }
    for (const auto& call : calls) {
      call->Send(kEnd);
      call->End();
    }
  });
  for (int i = 0; i < kStreams; ++i) {
    const std::string body = clients[i]->Read().body;
    size_t at = 0;
    for (int round = 0; round < kRounds; ++round) {
      at = body.find(Cat("\"text\":\"", i, ".", round, "\""), at);
      REQUIRE(at != std::string::npos);
    }
    CHECK_THAT(body, Catch::EndsWith("data: [DONE]\n\n"));
  }
  engine.join();
}

}  // namespace
}  // namespace latentd
