#include "server/grpc/wire.h"

#include <google/protobuf/stubs/logging.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/slice.h>

#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>

#include "server/cat.h"

namespace latentd {
namespace {

// Where the log of a parse on this thread goes; null outside of one.
thread_local std::string* parse_log = nullptr;

void HandleLog(google::protobuf::LogLevel level, const char* /*file*/, int /*line*/,
               const std::string& message) {
  if (parse_log != nullptr) *parse_log = message;
  // protobuf ends the process after this.
  if (level == google::protobuf::LOGLEVEL_FATAL) std::fprintf(stderr, "%s\n", message.c_str());
}

// "String field 'latentd.v1.GenerateRequest.text' contains invalid UTF-8 data …", which is all that
// libprotobuf tells of a failure: the full name of the field, or "".
std::string_view FieldNamed(std::string_view log) {
  const size_t begin = log.find("'latentd.v1.");
  if (begin == std::string_view::npos || log.find("UTF-8") == std::string_view::npos) return "";
  const size_t end = log.find('\'', begin + 1);
  if (end == std::string_view::npos) return "";
  return log.substr(begin + 1, end - begin - 1);
}

// A field as HTTP spells it.
std::string_view HttpName(std::string_view field) {
  field.remove_prefix(std::string_view("latentd.v1.").size());
  const size_t dot = field.find('.');
  const std::string_view message = field.substr(0, dot), name = field.substr(dot + 1);
  if (message == "Message") return "messages";
  if (message == "Stop") return "stop";
  if (message == "Constraint" || message == "Choices") return "structured_outputs";
  if (message == "Chat") {
    return name == "tools_json"         ? "tools"
           : name == "tool_choice_json" ? "tool_choice"
                                        : "chat_template_kwargs";
  }
  return name == "text" ? "prompt" : name;
}

}  // namespace

void CatchProtobufLog() {
  static std::once_flag once;
  std::call_once(once, [] { google::protobuf::SetLogHandler(HandleLog); });
}

absl::Status ParseWire(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  std::string log;
  bool parsed = false;
  if (bytes.Valid()) {
    grpc::ByteBuffer copy(bytes);  // shares the bytes; the reader wants one that it may change
    grpc::ProtoBufferReader reader(&copy);
    parse_log = &log;
    parsed = reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
    parse_log = nullptr;
  }
  if (parsed) return absl::OkStatus();
  if (const std::string_view field = FieldNamed(log); !field.empty()) {
    const std::string_view param = HttpName(field);
    return BadField(param, Cat(param, " must be valid UTF-8"));
  }
  return BadField("", Cat("the bytes are no ", message->GetDescriptor()->full_name()));
}

grpc::ByteBuffer ToWire(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status TakeRequest(const grpc::ByteBuffer& bytes, Metrics* metrics,
                         google::protobuf::Message* request) {
  absl::Status status = ParseWire(bytes, request);
  if (!status.ok()) metrics->Refused(RefusalOf(status));
  return status;
}

}  // namespace latentd
