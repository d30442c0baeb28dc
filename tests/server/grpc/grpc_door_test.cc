#include "server/grpc/grpc_door.h"

#include "google/rpc/status.pb.h"
#include "tests/server/grpc/door_fixture.h"

namespace latentd {
namespace {

using testing::DoorFixture;
using testing::FakeTokenStream;

v1::GenerateRequest Prompt(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_request_id("r");
  return request;
}

// The ErrorDetail in the trailer; a failed check without one.
v1::ErrorDetail DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  CHECK(details.ParseFromString(status.error_details()));
  CHECK(details.code() == static_cast<int>(status.error_code()));
  CHECK(details.message() == status.error_message());
  REQUIRE(details.details_size() == 1);
  v1::ErrorDetail detail;
  CHECK(details.details(0).UnpackTo(&detail));
  return detail;
}

grpc::Status GenerateAll(DoorFixture& f, const v1::GenerateRequest& request,
                         std::string* text = nullptr) {
  grpc::ClientContext context;
  auto reader = f.stub->Generate(&context, request);
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
    if (text != nullptr) *text += message.text();
  }
  return reader->Finish();
}

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

TEST_CASE("Errors carry google.rpc.Status with the ErrorDetail") {
  DoorFixture f;
  SECTION("a bad field") {
    v1::GenerateRequest request = Prompt("x");
    request.mutable_sampling()->set_top_p(1.5f);
    const grpc::Status status = GenerateAll(f, request);
    CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(status.error_message() == "top_p must be above 0 and at most 1, got 1.5");
    CHECK(DetailOf(status).param() == "top_p");
    CHECK(DetailOf(status).type() == "invalid_request_error");
    CHECK(DetailOf(status).http_status() == 400);
  }
  SECTION("an unknown model, also in unary calls") {
    v1::GenerateRequest request = Prompt("x");
    request.set_model("other");
    CHECK(GenerateAll(f, request).error_code() == grpc::StatusCode::NOT_FOUND);
    grpc::ClientContext context;
    v1::GetModelRequest model;
    model.set_model("other");
    v1::Model response;
    const grpc::Status status = f.stub->GetModel(&context, model, &response);
    CHECK(status.error_code() == grpc::StatusCode::NOT_FOUND);
    CHECK(DetailOf(status).code() == "model_not_found");
    CHECK(f.metrics.refusals == std::vector<Refusal>(2, Refusal::kNotFound));
  }
  SECTION("full") {
    f.engine.room = absl::ResourceExhaustedError("full");
    const grpc::Status status = GenerateAll(f, Prompt("x"));
    CHECK(status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
    CHECK(DetailOf(status).http_status() == 503);
    CHECK(DetailOf(status).retry_after_seconds() >= 1);
  }
  SECTION("after some tokens") {
    f.engine.on_submit = [](auto stream) {
      stream->Text("ab");
      stream->End(absl::DeadlineExceededError("late"));
    };
    std::string text;
    const grpc::Status status = GenerateAll(f, Prompt("x"), &text);
    CHECK(text == "ab");
    CHECK(status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED);
    CHECK(DetailOf(status).http_status() == 504);
  }
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

TEST_CASE("Unary calls and Score") {
  DoorFixture f;
  {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    request.set_text("hi");
    v1::TokenizeResponse response;
    REQUIRE(f.stub->Tokenize(&context, request, &response).ok());
    CHECK(response.token_ids_size() == 3);
    CHECK(response.max_context() == 4096);
  }
  {
    grpc::ClientContext context;
    v1::DetokenizeRequest request;
    request.add_token_ids('h');
    v1::DetokenizeResponse response;
    REQUIRE(f.stub->Detokenize(&context, request, &response).ok());
    CHECK(response.text() == "h");
  }
  {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    REQUIRE(f.stub->ListModels(&context, {}, &response).ok());
    CHECK(response.models(0).id() == "demo");
  }
  f.engine.on_submit = [](auto stream) {
    stream->FirstPromptToken('a');
    stream->Scored(TokenEvent::Kind::kPrompt, 'b', -2);
    stream->End();
  };
  grpc::ClientContext context;
  v1::ScoreRequest request;
  request.set_text("ab");
  auto reader = f.stub->Score(&context, request);
  v1::ScoreResponse message;
  REQUIRE(reader->Read(&message));
  CHECK(message.total_logprob() == -2);
  CHECK_FALSE(reader->Read(&message));
  CHECK(reader->Finish().ok());
}

TEST_CASE("A message beyond --max-body is refused by its size") {
  GrpcDoor::Options options;
  options.limits.max_body_bytes = 1000;
  DoorFixture f(options);
  CHECK(GenerateAll(f, Prompt(std::string(2000, 'x'))).error_code() ==
        grpc::StatusCode::RESOURCE_EXHAUSTED);
  CHECK(f.engine.requests.empty());
  f.engine.on_submit = [](auto stream) {
    stream->Finish(EngineFinish::kLength);
    stream->End();
  };
  CHECK(GenerateAll(f, Prompt(std::string(900, 'x'))).ok());
}

TEST_CASE("Admin is on its own port, and only there") {
  GrpcDoor::Options options;
  SECTION("without one") {
    DoorFixture f(options);
    CHECK(f.door->admin_address().empty());
  }
  options.admin_address = "127.0.0.1:0";
  DoorFixture f(options);
  auto channel = DoorFixture::Connect(f.door->admin_address());
  auto admin = v1::Admin::NewStub(channel);
  v1::Status status;
  {
    grpc::ClientContext context;
    CHECK(v1::Admin::NewStub(f.channel)->GetStatus(&context, {}, &status).error_code() ==
          grpc::StatusCode::UNIMPLEMENTED);
  }
  {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    CHECK(v1::Inference::NewStub(channel)->ListModels(&context, {}, &response).error_code() ==
          grpc::StatusCode::UNIMPLEMENTED);
  }
  {
    grpc::ClientContext context;
    REQUIRE(admin->GetStatus(&context, {}, &status).ok());
    CHECK(status.version() == "1.2.3");
  }
  {
    grpc::ClientContext context;
    v1::CacheStats stats;
    f.engine.stats.tokens_capacity = 640;
    REQUIRE(admin->GetCacheStats(&context, {}, &stats).ok());
    CHECK(stats.tokens_capacity() == 640);
  }
  {
    grpc::ClientContext context;
    v1::FlushCacheResponse response;
    REQUIRE(admin->FlushCache(&context, {}, &response).ok());
    CHECK(response.blocks_freed() == 7);
  }
}

TEST_CASE("Drain: what runs goes on, new work is refused, the listener stays") {
  GrpcDoor::Options options;
  options.admin_address = "127.0.0.1:0";
  int drains = 0;
  options.on_drain = [&] { ++drains; };
  DoorFixture f(options);
  auto admin = v1::Admin::NewStub(DoorFixture::Connect(f.door->admin_address()));
  std::promise<std::shared_ptr<FakeTokenStream>> submitted;
  f.engine.on_submit = [&](auto stream) { submitted.set_value(stream); };
  grpc::ClientContext running;
  auto reader = f.stub->Generate(&running, Prompt("x"));
  auto engine = submitted.get_future().get();
  engine->Text("a");
  v1::GenerateResponse message;
  REQUIRE(reader->Read(&message));

  grpc::ClientContext context;
  v1::DrainResponse response;
  REQUIRE(admin->Drain(&context, {}, &response).ok());
  CHECK(response.still_running() == 1);
  CHECK(drains == 1);
  const grpc::Status refused = GenerateAll(f, Prompt("y"));
  CHECK(refused.error_code() == grpc::StatusCode::UNAVAILABLE);
  CHECK(refused.error_message().find("drain") != std::string::npos);
  CHECK(DetailOf(refused).http_status() == 503);

  engine->Text("b");
  REQUIRE(reader->Read(&message));
  CHECK(message.text() == "b");
  engine->Finish(EngineFinish::kLength);
  engine->End();
  REQUIRE(reader->Read(&message));
  CHECK_FALSE(reader->Read(&message));
  CHECK(reader->Finish().ok());
}

TEST_CASE("Shutdown cuts what is still open at its deadline") {
  DoorFixture f;
  std::promise<void> submitted;
  f.engine.on_submit = [&](auto) { submitted.set_value(); };
  grpc::ClientContext context;
  auto reader = f.stub->Generate(&context, Prompt("x"));
  submitted.get_future().wait();
  f.door->Shutdown(std::chrono::steady_clock::now());
  CHECK_FALSE(reader->Finish().ok());
}

TEST_CASE("Addresses that cannot be listened on are named") {
  DoorFixture f;
  GrpcDoor::Options options;
  options.address = f.door->address();
  const auto used = GrpcDoor::Start(options, f.service.get(), &f.metrics);
  REQUIRE_FALSE(used.ok());
  CHECK(std::string(used.status().message()) ==
        "cannot listen on " + f.door->address() + ": Address already in use");
  for (const char* bad :
       {"", "localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"}) {
    options.address = bad;
    const auto door = GrpcDoor::Start(options, f.service.get(), &f.metrics);
    CHECK(door.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(door.status().message()).find(bad) != std::string::npos);
  }
  options.address = "127.0.0.1:0";
  options.admin_address = f.door->address();
  CHECK_FALSE(GrpcDoor::Start(options, f.service.get(), &f.metrics).ok());
}

}  // namespace
}  // namespace latentd
