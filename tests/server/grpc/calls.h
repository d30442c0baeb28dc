// Calls of Generate, and what their errors carry.
#pragma once

#include <string>

#include "google/rpc/status.pb.h"
#include "tests/server/grpc/door_fixture.h"

namespace latentd::testing {

inline v1::GenerateRequest Prompt(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  request.set_request_id("r");
  return request;
}

// The ErrorDetail in the trailer; a failed check without one.
inline v1::ErrorDetail DetailOf(const grpc::Status& status) {
  google::rpc::Status details;
  CHECK(details.ParseFromString(status.error_details()));
  CHECK(details.code() == static_cast<int>(status.error_code()));
  CHECK(details.message() == status.error_message());
  REQUIRE(details.details_size() == 1);
  v1::ErrorDetail detail;
  CHECK(details.details(0).UnpackTo(&detail));
  return detail;
}

inline grpc::Status GenerateAll(DoorFixture& f, const v1::GenerateRequest& request,
                                std::string* text = nullptr) {
  grpc::ClientContext context;
  auto reader = f.stub->Generate(&context, request);
  v1::GenerateResponse message;
  while (reader->Read(&message)) {
    if (text != nullptr) *text += message.text();
  }
  return reader->Finish();
}

}  // namespace latentd::testing
