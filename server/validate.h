// The one validator of both doors. Every check of a request's fields, ranges and combinations is
// here, so that the same request gets the same answer over HTTP and gRPC. Messages use HTTP's field
// names and are deterministic. Doors check only what the protobuf message cannot hold.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/model/loader.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

inline constexpr uint32_t kMaxChoices = 128;
inline constexpr int kMaxStopStrings = 64;
inline constexpr size_t kMaxStopStringBytes = 64u << 10;
inline constexpr size_t kMaxRequestIdBytes = 1024;
inline constexpr uint32_t kCompletionsMaxTokens = 16;  // default of text and id prompts

// What requests are checked against.
struct ServedModel {
  std::string id;
  uint32_t vocab_size = 0;  // rows of the logits: ids are below
  int64_t max_context = 0;  // tokens
  bool has_chat_template = false;
  int64_t q_rank = 0, kv_rank = 0;       // full ranks
  std::optional<ElasticConfig> elastic;  // what else a width may be; absent: nothing
  bool width_by_policy = false;          // of a request that names none
  GenerationDefaults defaults;
};

// Everything that can be said before the prompt is tokenized. The result lacks prompt, seed (unless
// given), deadline and salt. An absent max_tokens is left at 0 and told by FitContext.
absl::StatusOr<EngineRequest> ValidateGenerate(const v1::GenerateRequest& request,
                                               const ServedModel& model);
// The same for a Score request: max_tokens is 0 and stays so.
absl::StatusOr<EngineRequest> ValidateScore(const v1::ScoreRequest& request,
                                            const ServedModel& model);
absl::Status ValidateTokenize(const v1::TokenizeRequest& request, const ServedModel& model);
absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request, const ServedModel& model);
// Whether the checkpoint allows it; half a width is checked as far as it goes.
absl::Status CheckWidth(const v1::Width& width, const ServedModel& model);
// 404 unless `name` is empty or the served one.
absl::Status ValidateModel(std::string_view name, const ServedModel& model);

// The rest, with `engine.prompt` set: at least one token, ids inside the vocabulary, prompt and
// max_tokens inside the context. Sets engine.max_tokens where the request has none:
// `chat_defaults`: the rest of the context, else kCompletionsMaxTokens or the rest.
absl::Status FitContext(const v1::GenerateRequest& request, const ServedModel& model,
                        bool chat_defaults, EngineRequest* engine);
absl::Status FitContext(const v1::ScoreRequest& request, const ServedModel& model,
                        const EngineRequest& engine);
// What FitContext would say of a text prompt that was not counted to its end: it has at least so
// many tokens, more than the context.
absl::Status PromptTooLong(const v1::GenerateRequest& request, const ServedModel& model,
                           uint64_t at_least);
absl::Status PromptTooLong(const v1::ScoreRequest& request, const ServedModel& model,
                           uint64_t at_least);

// The shortest decimal that reads back as `value`: how both doors print numbers in messages.
std::string PrintFloat(float value);

}  // namespace latentd
