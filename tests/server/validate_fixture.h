// What the tests of the validator share: the model that is served, and bad requests.
#pragma once

#include <google/protobuf/text_format.h>

#include <catch2/catch.hpp>
#include <string>

#include "server/errors.h"
#include "server/validate.h"

namespace latentd::testing {

inline ServedModel Demo() {
  ServedModel model;
  model.id = "demo";
  model.vocab_size = 1000;
  model.max_context = 64;
  model.has_chat_template = true;
  model.q_rank = 192;
  model.kv_rank = 128;
  model.defaults.eos_token_ids = {2, 7};
  return model;
}

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  REQUIRE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

struct Bad {
  const char* request;  // text format
  const char* message;
  const char* param;
};

inline void CheckBad(const absl::Status& status, const Bad& bad) {
  CAPTURE(bad.request);
  CHECK(status.message() == bad.message);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(DetailOf(status).param() == bad.param);
  CHECK(DetailOf(status).http_status() == 400);
}

}  // namespace latentd::testing
