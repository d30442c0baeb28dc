// Bytes that are no message, over loopback.
#include <grpcpp/generic/generic_stub.h>

#include "google/rpc/status.pb.h"
#include "tests/server/grpc/door_fixture.h"

namespace latentd {
namespace {

using testing::DoorFixture;

// The status of a unary call with `bytes` for a message. A stream that is refused looks the same:
// there is no message before the status.
grpc::Status Send(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                  const std::string& bytes) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/latentd.v1." + method, grpc::StubOptions(), &request, &response,
                 [&](grpc::Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

std::string ParamOf(const grpc::Status& status) {
  google::rpc::Status details;
  REQUIRE(details.ParseFromString(status.error_details()));
  CHECK(details.message() == status.error_message());
  REQUIRE(details.details_size() == 1);
  v1::ErrorDetail detail;
  REQUIRE(details.details(0).UnpackTo(&detail));
  CHECK(detail.type() == "invalid_request_error");
  CHECK(detail.http_status() == 400);
  return detail.param();
}

TEST_CASE("Bytes that are no message are refused at every method, and counted") {
  GrpcDoor::Options options;
  options.admin_address = "127.0.0.1:0";
  DoorFixture f(options);
  const auto admin = DoorFixture::Connect(f.door->admin_address());
  size_t refused = 0;
  for (const auto& [method, request] : std::vector<std::pair<std::string, std::string>>{
           {"Inference/Generate", "GenerateRequest"},
           {"Inference/Score", "ScoreRequest"},
           {"Inference/Tokenize", "TokenizeRequest"},
           {"Inference/Detokenize", "DetokenizeRequest"},
           {"Inference/ListModels", "ListModelsRequest"},
           {"Inference/GetModel", "GetModelRequest"},
           {"Admin/GetStatus", "GetStatusRequest"},
           {"Admin/GetCacheStats", "GetCacheStatsRequest"},
           {"Admin/FlushCache", "FlushCacheRequest"},
           {"Admin/Drain", "DrainRequest"}}) {
    INFO(method);
    const grpc::Status status =
        Send(method[0] == 'A' ? admin : f.channel, method, std::string(40, '\xff'));
    CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(status.error_message() == "the bytes are no latentd.v1." + request);
    CHECK(ParamOf(status) == "");
    CHECK(f.metrics.refusals == std::vector<Refusal>(++refused, Refusal::kInvalid));
  }
  CHECK_FALSE(f.service->draining());
  CHECK(f.engine.requests.empty());
}

TEST_CASE("A string that is not UTF-8 is named as HTTP names its field") {
  DoorFixture f;
  v1::GenerateRequest chat;
  chat.mutable_chat()->add_messages()->set_content("\xff");
  v1::GenerateRequest stop;
  stop.mutable_stop()->add_strings("\xff");
  v1::GenerateRequest text, id;
  text.set_text("a\xff");
  id.set_request_id("\xc3(");
  for (const auto& [request, param] : std::vector<std::pair<v1::GenerateRequest, std::string>>{
           {text, "prompt"}, {id, "request_id"}, {stop, "stop"}, {chat, "messages"}}) {
    const grpc::Status status = Send(f.channel, "Inference/Generate", request.SerializeAsString());
    CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(status.error_message() == param + " must be valid UTF-8");
    CHECK(ParamOf(status) == param);
  }
  v1::TokenizeRequest tokenize;
  tokenize.set_text("\xff");
  CHECK(Send(f.channel, "Inference/Tokenize", tokenize.SerializeAsString()).error_message() ==
        "prompt must be valid UTF-8");
  CHECK(f.metrics.refusals == std::vector<Refusal>(5, Refusal::kInvalid));
}

}  // namespace
}  // namespace latentd
