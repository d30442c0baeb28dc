#include "tests/server/grpc/calls.h"

namespace latentd {
namespace {

using testing::DetailOf;
using testing::DoorFixture;
using testing::GenerateAll;
using testing::Prompt;

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
