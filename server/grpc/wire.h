// Messages of the gRPC door as bytes. gRPC would parse them itself, but answers bytes that are no
// message with UNIMPLEMENTED and no word before the program hears of the call; so the methods are
// registered raw, and parsing is here.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <utility>

#include "server/errors.h"
#include "server/grpc/open_calls.h"
#include "server/grpc/rpc_status.h"
#include "server/metrics.h"

namespace latentd {

// Once per process: libprotobuf's complaints go to ParseWire, not unformatted to stderr.
void CatchProtobufLog();

// INVALID_ARGUMENT: `bytes` are no message of this type. A string that is not UTF-8 is named as
// HTTP names its field ("prompt must be valid UTF-8").
absl::Status ParseWire(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

grpc::ByteBuffer ToWire(const google::protobuf::Message& message);

// ParseWire, with the refusal counted.
absl::Status TakeRequest(const grpc::ByteBuffer& bytes, Metrics* metrics,
                         google::protobuf::Message* request);

// Of a unary call; counted as open from here to the end.
class UnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit UnaryReactor(OpenCalls* open) : open_(open) { open_->Begin(); }
  void OnDone() override {
    open_->End();
    delete this;
  }

 private:
  OpenCalls* const open_;
};

// A unary call: parses the request and hands it to run(request, done), which calls done(StatusOr of
// the response) once, from any thread.
template <typename Request, typename Response, typename Run>
grpc::ServerUnaryReactor* AnswerUnary(const grpc::ByteBuffer& bytes, grpc::ByteBuffer* response,
                                      Metrics* metrics, OpenCalls* open, Run&& run) {
  grpc::ServerUnaryReactor* reactor = new UnaryReactor(open);
  Request request;
  if (absl::Status status = TakeRequest(bytes, metrics, &request); !status.ok()) {
    reactor->Finish(ToGrpc(status));
    return reactor;
  }
  std::function<void(absl::StatusOr<Response>)> done = [reactor,
                                                        response](absl::StatusOr<Response> result) {
    if (result.ok()) *response = ToWire(*result);
    reactor->Finish(ToGrpc(result.status()));
  };
  run(std::move(request), std::move(done));
  return reactor;
}

}  // namespace latentd
