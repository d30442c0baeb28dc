// What the service is told of a caller who leaves before the answer.
#include <grpcpp/client_context.h>

#include <catch2/catch.hpp>
#include <future>
#include <memory>

#include "tests/server/grpc/door_fixture.h"
#include "tests/server/http/fake_service.h"

namespace latentd {
namespace {

// A door over a service that holds its answers back.
struct HoldingDoor {
  HoldingDoor() {
    service.hold = true;
    GrpcDoor::Options options;
    options.address = "127.0.0.1:0";
    auto started = GrpcDoor::Start(options, &service, &metrics);
    REQUIRE(started.ok());
    door = *std::move(started);
    stub = v1::Inference::NewStub(testing::DoorFixture::Connect(door->address()));
  }
  FakeService service;
  FakeMetrics metrics;
  std::unique_ptr<GrpcDoor> door;
  std::unique_ptr<v1::Inference::Stub> stub;
};

// The server hears of it some time after the client has said so: while it answers later calls on
// the same connection.
bool HearsThatItLeft(const HoldingDoor& door, const FakeService::Held& held) {
  for (int i = 0; i < 1000 && !held.context.left(); ++i) {
    grpc::ClientContext context;
    v1::ListModelsResponse models;
    CHECK(door.stub->ListModels(&context, {}, &models).ok());
  }
  return held.context.left();
}

TEST_CASE("The service can ask whether the caller of a stream still waits") {
  HoldingDoor f;
  const auto leaves = [&f](auto call) {
    grpc::ClientContext context;
    auto reader = call(&context);
    const FakeService::Held held = f.service.NextHeld();
    REQUIRE(held.context.left);
    CHECK_FALSE(held.context.left());
    context.TryCancel();
    CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
    CHECK(HearsThatItLeft(f, held));
    held();  // to nobody
  };
  leaves([&f](auto* context) { return f.stub->Generate(context, v1::GenerateRequest()); });
  leaves([&f](auto* context) { return f.stub->Score(context, v1::ScoreRequest()); });
}

TEST_CASE("The service can ask whether the caller of Tokenize still waits") {
  HoldingDoor f;
  grpc::ClientContext context;
  std::future<grpc::Status> status = std::async(std::launch::async, [&] {
    v1::TokenizeResponse response;
    return f.stub->Tokenize(&context, v1::TokenizeRequest(), &response);
  });
  const FakeService::Held held = f.service.NextHeld();
  REQUIRE(held.context.left);
  CHECK_FALSE(held.context.left());
  context.TryCancel();
  CHECK(status.get().error_code() == grpc::StatusCode::CANCELLED);
  CHECK(HearsThatItLeft(f, held));
  held();
}

}  // namespace
}  // namespace latentd
