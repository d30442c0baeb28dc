// Connections, small endpoints, limits in time and number, the end of the door.
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/cat.h"
#include "tests/server/http/door_fixture.h"

namespace latentd {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

TEST_CASE("small endpoints") {
  DoorFixture fixture;
  CHECK(fixture.Ask(Get("/health")).body == R"({"status":"ok"})");
  CHECK(fixture.Ask(Get("/ready")).body == R"({"status":"ready"})");
  CHECK(fixture.Ask(Get("/version")).body == R"({"version":"1.2.3"})");
  const RawResponse metrics = fixture.Ask(Get("/metrics"));
  CHECK(metrics.body == "latentd_up 1\n");
  CHECK(metrics.headers.at("content-type") == "text/plain; version=0.0.4; charset=utf-8");
  const RawResponse models = fixture.Ask(Get("/v1/models"));
  CHECK_THAT(models.body,
             Catch::StartsWith(R"({"object":"list","data":[{"id":"org/model","object":"model",)"));
  CHECK_THAT(models.body, Catch::Contains(R"("max_model_len":4096)"));
  for (const char* path :
       {"/v1/models/org/model", "/v1/models/org%2Fmodel", "/v1/models/%6Frg/model?x=1"}) {
    CHECK_THAT(fixture.Ask(Get(path)).body, Catch::StartsWith(R"({"id":"org/model")"));
  }
}

TEST_CASE("health and readiness follow the service") {
  DoorFixture fixture;
  fixture.service.is_draining = true;
  CHECK(fixture.Ask(Get("/health")).status == 200);
  RawResponse ready = fixture.Ask(Get("/ready"));
  CHECK(ready.status == 503);
  CHECK(ready.headers.count("retry-after") == 1);
  CHECK_THAT(ready.body, Catch::Contains("drain"));
  const RawResponse work = fixture.Ask(Post("/v1/completions", R"({"prompt":"a"})"));
  CHECK(work.status == 503);
  CHECK(work.headers.count("retry-after") == 1);
  CHECK_THAT(work.body, Catch::Contains("drain"));
  fixture.service.is_draining = false;
  fixture.service.is_live = false;
  CHECK(fixture.Ask(Get("/health")).status == 503);
  CHECK(fixture.Ask(Get("/ready")).status == 503);
  CHECK(fixture.metrics.refused() == 0);  // the service counts its own
}

TEST_CASE("HEAD has the head of GET and no body") {
  DoorFixture fixture;
  RawClient client(fixture.port());
  client.Send("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n" + Get("/version"));
  const RawResponse head = client.Read(/*head=*/true);
  CHECK(head.status == 200);
  CHECK(head.headers.at("content-length") == "15");
  CHECK(client.Read().body == R"({"version":"1.2.3"})");
  CHECK(fixture.Ask("HEAD /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n").status == 405);
}

TEST_CASE("tokenize and detokenize have vLLM's shape") {
  DoorFixture fixture;
  CHECK(fixture.Ask(Post("/tokenize", R"({"prompt":"ab"})")).body ==
        R"({"count":2,"max_model_len":4096,"tokens":[97,98],"token_strs":null})");
  CHECK(fixture.Ask(Post("/tokenize", R"({"prompt":"ab","return_token_strs":true})")).body ==
        R"({"count":2,"max_model_len":4096,"tokens":[97,98],"token_strs":["a","b"]})");
  CHECK(fixture.Ask(Post("/tokenize", R"({"messages":[{"role":"user","content":"x"}]})")).body ==
        R"({"count":1,"max_model_len":4096,"tokens":[1000],"token_strs":null})");
  CHECK(fixture.Ask(Post("/detokenize", R"({"tokens":[97,98]})")).body == R"({"prompt":"ab"})");
  const RawResponse refused = fixture.Ask(Post("/tokenize", R"({"prompt":"refuse"})"));
  CHECK(refused.status == 400);
  CHECK_THAT(refused.body, Catch::Contains(R"("param":"prompt")"));
  CHECK(fixture.Ask(Post("/detokenize", R"({"tokens":[256]})")).status == 400);
  CHECK(fixture.metrics.refused() == 0);
  CHECK(fixture.Ask(Post("/tokenize", "{}")).status == 400);
  CHECK(fixture.metrics.refused(Refusal::kInvalid) == 1);
}

TEST_CASE("connections stay open, and pipelined requests are answered in order") {
  DoorFixture fixture({}, [](FakeService* service) { service->answer = AnswerOk; });
  RawClient client(fixture.port());
  std::string many;
  for (int i = 0; i < 50; ++i) {
    many += Get("/version") + Post("/v1/completions", R"({"prompt":"a"})") +
            Post("/v1/completions", R"({"prompt":"a","stream":true})") + Get("/nothing");
  }
  std::thread sender([&] { client.Send(many); });
  for (int i = 0; i < 50; ++i) {
    CHECK(client.Read().body == R"({"version":"1.2.3"})");
    CHECK_THAT(client.Read().body, Catch::Contains("\"text\":\"ok\""));
    CHECK_THAT(client.Read().body, Catch::EndsWith("data: [DONE]\n\n"));
    CHECK(client.Read().status == 404);
  }
  sender.join();
  client.Send(Get("/health", "Connection: close\r\n"));
  CHECK(client.Read().headers.at("connection") == "close");
  CHECK(client.AtEnd());
}

TEST_CASE("HTTP/1.0 gets no chunks, and stays open only where it asks") {
  DoorFixture fixture({}, [](FakeService* service) { service->answer = AnswerOk; });
  RawClient client(fixture.port());
  client.Send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CHECK(client.Read().headers.at("connection") == "keep-alive");
  const std::string body = R"({"prompt":"a","stream":true})";
  client.Send(Cat("POST /v1/completions HTTP/1.0\r\nConnection: keep-alive\r\n",
                  "Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n\r\n",
                  body));
  const RawResponse stream = client.Read();
  CHECK(stream.headers.at("connection") == "close");
  CHECK(stream.headers.count("transfer-encoding") == 0);
  CHECK_THAT(stream.body, Catch::StartsWith("data: {") && Catch::EndsWith("data: [DONE]\n\n"));
  RawClient once(fixture.port());
  once.Send("GET /health HTTP/1.0\r\n\r\n");
  CHECK(once.Read().headers.at("connection") == "close");
  CHECK(once.AtEnd());
}

TEST_CASE("a header is due in its time, also when it dribbles") {
  DoorLimits limits;
  limits.header_timeout = milliseconds(1000);  // within it a busy machine connects and sends
  DoorFixture fixture(limits);
  RawClient silent(fixture.port());
  CHECK(silent.AtEnd());  // nothing said, nothing answered
  RawClient client(fixture.port());
  client.Send("GET /health HTTP/1.1\r\nHost: x\r\n");
  const RawResponse late = client.Read();
  CHECK(late.status == 408);
  CHECK(late.headers.at("connection") == "close");
  CHECK(client.AtEnd());
  RawClient dribbling(fixture.port());
  dribbling.Send("GET /health HTTP/1.1\r\nHost: x\r\nA: ");
  while (dribbling.TrySend("x")) std::this_thread::yield();  // ends only when the door closes
  CHECK(fixture.metrics.refused(Refusal::kDeadline) >= 1);
}

TEST_CASE("a body is due in its time") {
  DoorLimits limits;
  limits.body_timeout = milliseconds(60);
  DoorFixture fixture(limits);
  RawClient client(fixture.port());
  client.Send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Content-Length: 100\r\n\r\n{");
  CHECK(client.Read().status == 408);
  CHECK(client.AtEnd());
}

TEST_CASE("an idle connection is closed without a word") {
  DoorLimits limits;
  limits.idle_timeout = milliseconds(60);
  DoorFixture fixture(limits);
  RawClient client(fixture.port());
  client.Send(Get("/health"));
  CHECK(client.Read().status == 200);
  CHECK(client.AtEnd());
  CHECK(fixture.metrics.refused() == 0);
}

TEST_CASE("connections above the limit are told so") {
  DoorLimits limits;
  limits.max_connections = 2;
  DoorFixture fixture(limits);
  RawClient first(fixture.port()), second(fixture.port());
  first.Send(Get("/health"));
  CHECK(first.Read().status == 200);
  second.Send(Get("/health"));
  CHECK(second.Read().status == 200);
  {
    RawClient third(fixture.port());
    third.Send(Get("/health"));
    const RawResponse refused = third.Read();
    CHECK(refused.status == 503);
    CHECK(std::stoi(refused.headers.at("retry-after")) >= 1);
    CHECK(third.AtEnd());
  }
  CHECK(fixture.metrics.refused(Refusal::kFull) == 1);
  first.Send(Get("/health"));
  CHECK(first.Read().status == 200);
}

TEST_CASE("bodies on their way are bounded together") {
  DoorLimits limits;
  limits.max_body_bytes = 1000;
  DoorFixture fixture(limits, [](FakeService* service) { service->answer = AnswerOk; });
  const std::string head = Cat("POST /v1/completions HTTP/1.1\r\nHost: x\r\n",
                               "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n");
  const std::string part = R"({"prompt":"a")" + std::string(980, ' ');
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 33; ++i) {
    clients.push_back(std::make_unique<RawClient>(fixture.port()));
    clients.back()->Send(head + part);
    CHECK(fixture.Ask(Get("/health")).status == 200);  // by now it is read
  }
  const RawResponse refused = clients.back()->Read();
  CHECK(refused.status == 503);
  CHECK(refused.headers.count("retry-after") == 1);
  CHECK(fixture.metrics.refused(Refusal::kFull) == 1);
  const std::string rest = std::string(1000 - part.size() - 1, ' ') + "}";
  clients[0]->Send(rest);
  CHECK(clients[0]->Read().status == 200);
  clients[0]->Send(head + part + rest);  // there is room again
  CHECK(clients[0]->Read().status == 200);
}

TEST_CASE("a used port is an error that names it") {
  DoorFixture fixture;
  HttpDoor::Options options;
  options.port = fixture.port();
  const auto second = HttpDoor::Start(options, &fixture.service, &fixture.metrics);
  REQUIRE_FALSE(second.ok());
  CHECK_THAT(std::string(second.status().message()),
             Catch::Contains(fixture.door->address()) && Catch::Contains("in use"));
  options.host = "no.such.host.invalid";
  CHECK_FALSE(HttpDoor::Start(options, &fixture.service, &fixture.metrics).ok());
}

TEST_CASE("names and IPv6 addresses are listened on") {
  FakeService service;
  FakeMetrics metrics;
  HttpDoor::Options options;
  options.port = 0;
  options.host = "localhost";
  CHECK(HttpDoor::Start(options, &service, &metrics).ok());
  options.host = "::1";
  const auto v6 = HttpDoor::Start(options, &service, &metrics);
  if (v6.ok()) CHECK((*v6)->address() == Cat("[::1]:", (*v6)->port()));  // where there is IPv6
}

TEST_CASE("shutdown closes idle connections and lets streams finish") {
  DoorFixture fixture;
  RawClient idle(fixture.port()), busy(fixture.port());
  idle.Send(Get("/health"));
  CHECK(idle.Read().status == 200);
  busy.Send(Post("/v1/completions", R"({"prompt":"a","stream":true})"));
  const auto call = fixture.service.NextCall();
  call->Send("text: 'a'");
  busy.ReadUntil("\"text\":\"a\"");
  std::thread shutdown([&] { fixture.door->Shutdown(Clock::now() + std::chrono::minutes(1)); });
  CHECK(idle.AtEnd());
  AnswerOk(call.get());
  CHECK_THAT(busy.ReadToEnd(), Catch::EndsWith("data: [DONE]\n\n\r\n0\r\n\r\n"));
  shutdown.join();
  CHECK_THROWS(RawClient(fixture.port()));
}

TEST_CASE("shutdown cuts what is left at its deadline") {
  DoorFixture fixture;
  RawClient busy(fixture.port());
  busy.Send(Post("/v1/completions", R"({"prompt":"a","stream":true})"));
  const auto call = fixture.service.NextCall();
  call->Send("text: 'a'");
  busy.ReadUntil("\"text\":\"a\"");
  fixture.door->Shutdown(Clock::now() + milliseconds(20));
  call->AwaitCancelled();
  CHECK_THAT(busy.ReadToEnd(), !Catch::Contains("[DONE]"));
  call->Send("text: 'late'");  // the engine may still wake a door that is gone
  fixture.door.reset();
  call->End();
}

}  // namespace
}  // namespace latentd
