// HTTP bodies → the messages that a gRPC client would send. Knows JSON's syntax and types, the
// fields of each route, and what exists over HTTP alone; ranges belong to the validator behind the
// service. Pure functions: any thread, no state, no I/O.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "latentd/v1/latentd.pb.h"
#include "server/limits.h"

namespace latentd {

// Prompts of one HTTP request; each is a Generate call of its own.
inline constexpr size_t kMaxPrompts = 128;

struct BodyOptions {
  size_t max_json_depth = kMaxJsonDepth;
  bool ignore_unknown_fields = false;
};

// One /v1/completions or /v1/chat/completions request.
struct GenerateCall {
  bool chat = false;
  std::vector<v1::GenerateRequest> requests;  // one a prompt, in order, >= 1; request_id not set
  bool prompt_list = false;                   // prompts were an array of prompts
  bool stream = false;
  bool include_usage = false;             // stream_options.include_usage
  bool return_token_ids = false;          // prompt_token_ids and token_ids in the answer
  std::optional<double> timeout_seconds;  // > 0, finite
};

struct TokenizeCall {
  v1::TokenizeRequest request;
  bool return_token_strings = false;
};

// INVALID_ARGUMENT made by BadField; code invalid_json when the body is no JSON object.
absl::StatusOr<GenerateCall> ParseCompletionBody(std::string_view body, const BodyOptions& options);
absl::StatusOr<GenerateCall> ParseChatBody(std::string_view body, const BodyOptions& options);
absl::StatusOr<TokenizeCall> ParseTokenizeBody(std::string_view body, const BodyOptions& options);
absl::StatusOr<v1::DetokenizeRequest> ParseDetokenizeBody(std::string_view body,
                                                          const BodyOptions& options);

}  // namespace latentd
