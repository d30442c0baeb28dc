// Admin: its port, and draining.
#include "tests/server/grpc/calls.h"

namespace latentd {
namespace {

using testing::DetailOf;
using testing::DoorFixture;
using testing::FakeTokenStream;
using testing::GenerateAll;
using testing::Prompt;

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

}  // namespace
}  // namespace latentd
