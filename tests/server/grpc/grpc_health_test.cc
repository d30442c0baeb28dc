// Health and reflection, by the wire: their client stubs are not part of the distribution.
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <optional>

#include "grpc/health/v1/health.pb.h"
#include "tests/server/grpc/door_fixture.h"

namespace latentd {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::internal::RpcMethod;
using testing::DoorFixture;

constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";
constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

// SERVING, NOT_SERVING …, or nothing when the call says NOT_FOUND.
std::optional<HealthCheckResponse::ServingStatus> Check(grpc::ChannelInterface* channel,
                                                        const std::string& service) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status = grpc::internal::BlockingUnaryCall(
      channel, RpcMethod(kCheck, RpcMethod::NORMAL_RPC), &context, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return std::nullopt;
  CHECK(status.ok());
  return response.status();
}

std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> Watch(grpc::ChannelInterface* channel,
                                                               grpc::ClientContext* context,
                                                               const std::string& service) {
  HealthCheckRequest request;
  request.set_service(service);
  return std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>(
      grpc::internal::ClientReaderFactory<HealthCheckResponse>::Create(
          channel, RpcMethod(kWatch, RpcMethod::SERVER_STREAMING), context, request));
}

TEST_CASE("Health of \"\", readiness and liveness") {
  GrpcDoor::Options options;
  options.admin_address = "127.0.0.1:0";
  DoorFixture f(options);
  auto admin = DoorFixture::Connect(f.door->admin_address());
  for (grpc::ChannelInterface* channel : {f.channel.get(), admin.get()}) {
    CHECK(Check(channel, "") == HealthCheckResponse::NOT_SERVING);
    CHECK(Check(channel, "readiness") == HealthCheckResponse::NOT_SERVING);
    CHECK(Check(channel, "liveness") == HealthCheckResponse::SERVING);
    CHECK_FALSE(Check(channel, "latentd.v1.Inference"));
  }
  f.door->SetReady(true);
  CHECK(Check(f.channel.get(), "") == HealthCheckResponse::SERVING);
  CHECK(Check(f.channel.get(), "readiness") == HealthCheckResponse::SERVING);

  grpc::ClientContext context;
  v1::DrainResponse response;
  REQUIRE(v1::Admin::NewStub(admin)->Drain(&context, {}, &response).ok());
  CHECK(Check(f.channel.get(), "") == HealthCheckResponse::NOT_SERVING);
  CHECK(Check(f.channel.get(), "readiness") == HealthCheckResponse::NOT_SERVING);
  CHECK(Check(f.channel.get(), "liveness") == HealthCheckResponse::SERVING);
}

TEST_CASE("Shutdown waits for our streams and not for a Watch") {
  DoorFixture f;
  grpc::ClientContext watching, generating;
  auto watch = Watch(f.channel.get(), &watching, "liveness");
  HealthCheckResponse health;
  REQUIRE(watch->Read(&health));
  std::promise<std::shared_ptr<testing::FakeTokenStream>> submitted;
  f.engine.on_submit = [&](auto stream) { submitted.set_value(stream); };
  v1::GenerateRequest request;
  request.set_text("x");
  auto reader = f.stub->Generate(&generating, request);
  auto engine = submitted.get_future().get();
  // Without a cut the test would hang here for the hour.
  auto closed = std::async(std::launch::async, [&] {
    f.door->Shutdown(std::chrono::steady_clock::now() + std::chrono::hours(1));
  });
  engine->Text("a");
  v1::GenerateResponse message;
  REQUIRE(reader->Read(&message));
  CHECK(message.text() == "a");
  engine->Finish(EngineFinish::kLength);
  engine->End();
  REQUIRE(reader->Read(&message));
  CHECK_FALSE(reader->Read(&message));
  CHECK(reader->Finish().ok());
  closed.get();
  CHECK_FALSE(watch->Read(&health));
  CHECK_FALSE(watch->Finish().ok());
}

TEST_CASE("Watch tells changes only") {
  DoorFixture f;
  f.door->SetReady(true);
  grpc::ClientContext context;
  auto reader = Watch(f.channel.get(), &context, "readiness");
  HealthCheckResponse response;
  REQUIRE(reader->Read(&response));
  CHECK(response.status() == HealthCheckResponse::SERVING);
  f.door->SetReady(true);
  f.door->SetReady(false);
  REQUIRE(reader->Read(&response));
  CHECK(response.status() == HealthCheckResponse::NOT_SERVING);
  f.door->SetReady(true);
  REQUIRE(reader->Read(&response));
  CHECK(response.status() == HealthCheckResponse::SERVING);
  context.TryCancel();
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);

  grpc::ClientContext other;
  auto unknown = Watch(f.channel.get(), &other, "nobody");
  REQUIRE(unknown->Read(&response));
  CHECK(response.status() == HealthCheckResponse::SERVICE_UNKNOWN);
  other.TryCancel();
  unknown->Finish();
}

// One request of the reflection protocol; the answer's bytes.
std::string Reflect(grpc::ChannelInterface* channel, const std::string& request) {
  grpc::ClientContext context;
  const std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel, RpcMethod(kReflection, RpcMethod::BIDI_STREAMING), &context));
  const grpc::Slice slice(request);
  REQUIRE(stream->Write(grpc::ByteBuffer(&slice, 1)));
  stream->WritesDone();
  grpc::ByteBuffer answer;
  REQUIRE(stream->Read(&answer));
  grpc::Slice whole;
  REQUIRE(answer.DumpToSingleSlice(&whole).ok());
  CHECK(stream->Finish().ok());
  return std::string(reinterpret_cast<const char*>(whole.begin()), whole.size());
}

TEST_CASE("Reflection lists the services and describes them") {
  DoorFixture f;
  // list_services (field 7) and file_containing_symbol (field 4), each a string.
  const std::string services = Reflect(f.channel.get(), std::string("\x3a\x01*"));
  CHECK(services.find("latentd.v1.Inference") != std::string::npos);
  CHECK(services.find("grpc.health.v1.Health") != std::string::npos);
  CHECK(services.find("grpc.reflection.v1alpha.ServerReflection") != std::string::npos);
  CHECK(services.find("latentd.v1.Admin") == std::string::npos);
  for (const std::string symbol : {"latentd.v1.Inference", "grpc.health.v1.Health"}) {
    std::string request = "\x22";
    request += static_cast<char>(symbol.size());
    const std::string answer = Reflect(f.channel.get(), request + symbol);
    CHECK(answer.find("not found") == std::string::npos);
    CHECK(answer.find(".proto") != std::string::npos);
  }
}

}  // namespace
}  // namespace latentd
