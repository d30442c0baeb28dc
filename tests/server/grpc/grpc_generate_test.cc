// The stream of one call.
#include "tests/server/grpc/calls.h"

namespace latentd {
namespace {

using testing::DoorFixture;
using testing::FakeTokenStream;
using testing::GenerateAll;
using testing::Prompt;

TEST_CASE("Tokens are streamed as they come") {
  DoorFixture f;
  std::promise<std::shared_ptr<FakeTokenStream>> submitted;
  f.engine.on_submit = [&](auto stream) { submitted.set_value(stream); };
  grpc::ClientContext context;
  auto reader = f.stub->Generate(&context, Prompt("x"));
  auto engine = submitted.get_future().get();
  v1::GenerateResponse message;
  for (const char* token : {"a", "b", "c"}) {
    engine->Text(token);  // only after the one before has been read
    REQUIRE(reader->Read(&message));
    CHECK(message.text() == token);
    CHECK(message.request_id() == "r");
  }
  engine->Finish(EngineFinish::kStop, 0, testing::kEos);
  engine->End();
  REQUIRE(reader->Read(&message));
  CHECK(message.finish_reason() == v1::FINISH_REASON_STOP);
  CHECK(message.usage().completion_tokens() == 3);
  CHECK_FALSE(reader->Read(&message));
  CHECK(reader->Finish().ok());
}

TEST_CASE("A reader that comes late gets everything in order") {
  DoorFixture f;
  std::promise<void> written;
  f.engine.on_submit = [&](auto stream) {
    for (int i = 0; i < 20'000; ++i) {
      stream->Scored(TokenEvent::Kind::kToken, 'a' + static_cast<uint32_t>(i % 26), -1);
    }
    stream->Finish(EngineFinish::kLength);
    stream->End();
    written.set_value();
  };
  v1::GenerateRequest request = Prompt("x");
  request.mutable_logprobs()->set_top(0);
  grpc::ClientContext context;
  auto reader = f.stub->Generate(&context, request);
  written.get_future().wait();
  std::string text;
  int logprobs = 0;
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
    text += message.text();
    logprobs += message.logprobs_size();
  }
  CHECK(reader->Finish().ok());
  CHECK(logprobs == 20'000);
  REQUIRE(text.size() == 20'000);
  bool in_order = true;
  for (size_t i = 0; i < text.size(); ++i) {
    in_order = in_order && text[i] == 'a' + static_cast<char>(i % 26);
  }
  CHECK(in_order);
}

TEST_CASE("The call's deadline is the request's") {
  DoorFixture f;
  f.engine.on_submit = [](auto stream) { stream->End(absl::InternalError("")); };
  CHECK_FALSE(GenerateAll(f, Prompt("x")).ok());
  CHECK_FALSE(f.engine.requests.at(0).deadline);

  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  const TimePoint before = std::chrono::steady_clock::now();
  auto reader = f.stub->Generate(&context, Prompt("x"));
  CHECK(reader->Finish().error_code() == grpc::StatusCode::INTERNAL);
  REQUIRE(f.engine.requests.at(1).deadline);
  const auto left = *f.engine.requests.at(1).deadline - before;
  CHECK(left > std::chrono::minutes(50));
  CHECK(left < std::chrono::minutes(70));
}

TEST_CASE("A call that is cancelled, or dropped, is cancelled in the engine") {
  DoorFixture f;
  std::promise<std::shared_ptr<FakeTokenStream>> submitted;
  std::promise<void> cancelled, start;
  f.engine.on_submit = [&](auto stream) {
    stream->on_cancel = [&] { cancelled.set_value(); };
    submitted.set_value(stream);
    start.get_future().wait();
  };
  auto context = std::make_unique<grpc::ClientContext>();
  auto reader = f.stub->Generate(context.get(), Prompt("x"));
  auto engine = submitted.get_future().get();
  SECTION("before the engine has answered") {
    context->TryCancel();
    CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
    // By the time that later calls on the connection are answered, the server knows.
    for (int i = 0; i < 100; ++i) {
      grpc::ClientContext other;
      v1::ListModelsResponse models;
      CHECK(f.stub->ListModels(&other, {}, &models).ok());
    }
    start.set_value();
    cancelled.get_future().wait();
    return;
  }
  start.set_value();
  SECTION("before the first token") { context->TryCancel(); }
  SECTION("after a token") {
    engine->Text("a");
    v1::GenerateResponse message;
    REQUIRE(reader->Read(&message));
    context->TryCancel();
  }
  cancelled.get_future().wait();
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace latentd
