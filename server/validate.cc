#include "server/validate.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "server/cat.h"
#include "server/errors.h"
#include "server/validate_parts.h"

namespace latentd {
namespace {

absl::Status CheckTokenIds(std::string_view param,
                           const google::protobuf::RepeatedField<uint32_t>& ids,
                           uint32_t vocab_size) {
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= vocab_size) {
      return OutOfRange(Cat(param, "[", i, "]"), Cat("a token id below ", vocab_size), Cat(ids[i]));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIdPrompt(const v1::TokenIds& prompt, const ServedModel& model) {
  if (prompt.ids().empty()) return BadField("prompt", "prompt must not be empty");
  return CheckTokenIds("prompt", prompt.ids(), model.vocab_size);
}

absl::Status CheckStop(const v1::GenerateRequest& request, const ServedModel& model) {
  const v1::Stop& stop = request.stop();
  if (stop.has_max_tokens() && stop.max_tokens() == 0 && !request.echo()) {
    return BadField("max_tokens",
                    "max_tokens must be at least 1, unless echo asks for the prompt alone, got 0");
  }
  if (stop.has_max_tokens() && stop.min_tokens() > stop.max_tokens()) {
    return OutOfRange("min_tokens", Cat("at most max_tokens (", stop.max_tokens(), ")"),
                      Cat(stop.min_tokens()));
  }
  if (stop.strings_size() > kMaxStopStrings) {
    return BadField("stop", Cat("stop must have at most ", kMaxStopStrings, " strings, got ",
                                stop.strings_size()));
  }
  for (int i = 0; i < stop.strings_size(); ++i) {
    const std::string param = Cat("stop[", i, "]");
    if (stop.strings(i).empty()) return BadField(param, param + " must not be empty");
    if (stop.strings(i).size() > kMaxStopStringBytes) {
      return BadField(param, Cat(param, " must be at most ", kMaxStopStringBytes, " bytes, got ",
                                 stop.strings(i).size()));
    }
    if (absl::Status status = CheckUtf8(param, stop.strings(i)); !status.ok()) return status;
  }
  return CheckTokenIds("stop_token_ids", stop.token_ids(), model.vocab_size);
}

absl::Status CheckTop(std::string_view param, uint32_t top) {
  if (top <= kMaxTopLogprobs) return absl::OkStatus();
  return OutOfRange(param, Cat("between 0 and ", kMaxTopLogprobs), Cat(top));
}

// A message holds 800 characters; a checkpoint may list more ranks than those.
std::string Listed(const std::vector<int64_t>& ranks) {
  constexpr size_t kMost = 64;
  std::string list = "one of ";
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i + 1 < ranks.size() && i >= kMost) continue;
    if (i + 1 == ranks.size() && i > kMost) list += " …";
    list += Cat(i == 0 ? "" : i > kMost ? " " : ", ", ranks[i]);
  }
  return list;
}

absl::Status CheckRank(std::string_view param, uint32_t rank, int64_t full,
                       const std::vector<int64_t>& listed, bool continuous) {
  if (AllowsRank(rank, full, listed, continuous)) return absl::OkStatus();
  if (listed.empty() || (listed.size() == 1 && !continuous)) {
    return OutOfRange(param, Cat(full, ", the only rank of this model"), Cat(rank));
  }
  if (continuous) return OutOfRange(param, Cat("between 1 and ", full), Cat(rank));
  return OutOfRange(param, Listed(listed), Cat(rank));
}

}  // namespace

absl::Status CheckWidth(const v1::Width& width, const ServedModel& model) {
  const ElasticConfig& elastic = model.elastic.value_or(ElasticConfig{});
  absl::Status status;
  if (width.has_q()) {
    status =
        CheckRank("width.q", width.q(), model.q_rank, elastic.q_lora_ranks, elastic.continuous);
  }
  if (status.ok() && width.has_kv()) {
    status =
        CheckRank("width.kv", width.kv(), model.kv_rank, elastic.kv_lora_ranks, elastic.continuous);
  }
  return status;
}

namespace {

// Half a width means the full rank for the other half.
void SetWidth(const v1::Width& width, const ServedModel& model, EngineRequest* engine) {
  engine->width_q = width.has_q() ? width.q() : model.q_rank;
  engine->width_kv = width.has_kv() ? width.kv() : model.kv_rank;
  engine->width_by_policy = model.width_by_policy && !width.has_q() && !width.has_kv();
}

absl::Status CheckConstraint(const v1::Constraint& constraint) {
  if (constraint.kind_case() == v1::Constraint::KIND_NOT_SET) return absl::OkStatus();
  return BadField("structured_outputs", "structured_outputs is not served yet");
}

absl::Status CheckRequest(const v1::GenerateRequest& request, const ServedModel& model) {
  absl::Status status = ValidateModel(request.model(), model);
  if (status.ok() && request.request_id().size() > kMaxRequestIdBytes) {
    status = BadField("request_id", Cat("request_id must be at most ", kMaxRequestIdBytes,
                                        " bytes, got ", request.request_id().size()));
  }
  if (status.ok()) status = CheckUtf8("request_id", request.request_id());
  if (status.ok()) status = CheckUtf8("cache_salt", request.cache_salt());
  if (!status.ok()) return status;
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      status = CheckUtf8("prompt", request.text());
      break;
    case v1::GenerateRequest::kTokenIds:
      status = CheckIdPrompt(request.token_ids(), model);
      break;
    case v1::GenerateRequest::kChat:
      status = CheckChat(request.chat(), model.has_chat_template);
      break;
    default:
      status = BadField("prompt", "prompt is required");
  }
  if (status.ok()) status = CheckSampling(request.sampling(), model.vocab_size);
  if (status.ok()) status = CheckStop(request, model);
  if (status.ok()) {
    const char* top = request.has_chat() ? "top_logprobs" : "logprobs";
    status = CheckTop(top, request.logprobs().top());
  }
  if (status.ok()) status = CheckTop("prompt_logprobs", request.logprobs().prompt_top());
  if (status.ok()) status = CheckConstraint(request.constraint());
  if (status.ok()) status = CheckWidth(request.width(), model);
  return status;
}

// `at_least`: the prompt was not counted to its end.
absl::Status TooLong(std::string_view param, const ServedModel& model, uint64_t prompt,
                     uint64_t max_tokens, bool at_least = false) {
  const char* counted = at_least ? "at least " : "";
  return BadField(param,
                  Cat("the maximum context length is ", model.max_context,
                      " tokens, but the request asks for ", counted, prompt + max_tokens, " (",
                      counted, prompt, " in the prompt, ", max_tokens, " for max_tokens)"),
                  "context_length_exceeded");
}

std::string_view PromptParam(const v1::GenerateRequest& request) {
  return request.has_chat() ? "messages" : "prompt";
}

absl::Status CheckPrompt(std::string_view param, const ServedModel& model,
                         const std::vector<uint32_t>& prompt) {
  if (prompt.empty()) {
    return BadField(param, Cat(param, " must have at least one token"));
  }
  for (const uint32_t id : prompt) {
    if (id >= model.vocab_size) {
      return BadField(param, Cat(param, " has the token ", id,
                                 ", which is beyond the model's vocabulary of ", model.vocab_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string PrintFloat(float value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  return std::string(buffer, result.ptr);
}

absl::Status ValidateModel(std::string_view name, const ServedModel& model) {
  if (name.empty() || name == model.id) return absl::OkStatus();
  return UnknownModel(name, model.id);
}

absl::StatusOr<EngineRequest> ValidateGenerate(const v1::GenerateRequest& request,
                                               const ServedModel& model) {
  if (absl::Status status = CheckRequest(request, model); !status.ok()) return status;
  EngineRequest engine;
  engine.sampling = ResolveSampling(request.sampling(), model.defaults);
  engine.num_choices = request.sampling().has_n() ? request.sampling().n() : 1;
  engine.max_tokens = request.stop().max_tokens();
  engine.min_tokens = request.stop().min_tokens();
  if (!request.stop().ignore_eos()) engine.eos_token_ids = model.defaults.eos_token_ids;
  engine.stop_token_ids.assign(request.stop().token_ids().begin(),
                               request.stop().token_ids().end());
  const v1::LogprobOptions& logprobs = request.logprobs();
  if (logprobs.has_top()) engine.top_logprobs = logprobs.top();
  if (logprobs.has_prompt_top()) engine.prompt_top_logprobs = logprobs.prompt_top();
  // An echoed prompt shows its logprobs as the generated tokens show theirs.
  if (request.echo() && logprobs.has_top()) {
    engine.prompt_top_logprobs = std::max(logprobs.top(), logprobs.prompt_top());
  }
  engine.logits_hash = request.logits_hash();
  SetWidth(request.width(), model, &engine);
  engine.priority = request.priority();
  return engine;
}

absl::StatusOr<EngineRequest> ValidateScore(const v1::ScoreRequest& request,
                                            const ServedModel& model) {
  absl::Status status = ValidateModel(request.model(), model);
  if (status.ok()) {
    if (request.has_text()) {
      status = CheckUtf8("prompt", request.text());
    } else if (request.has_token_ids()) {
      status = CheckIdPrompt(request.token_ids(), model);
    } else {
      status = BadField("prompt", "prompt is required");
    }
  }
  if (status.ok()) status = CheckTop("top", request.top());
  if (status.ok()) status = CheckWidth(request.width(), model);
  if (!status.ok()) return status;
  EngineRequest engine;
  engine.max_tokens = 0;
  engine.prompt_top_logprobs = request.top();
  engine.logits_hash = request.logits_hash();
  SetWidth(request.width(), model, &engine);
  return engine;
}

absl::Status ValidateTokenize(const v1::TokenizeRequest& request, const ServedModel& model) {
  if (absl::Status status = ValidateModel(request.model(), model); !status.ok()) return status;
  if (request.has_text()) return CheckUtf8("prompt", request.text());
  if (request.has_chat()) return CheckChat(request.chat(), model.has_chat_template);
  return BadField("prompt", "prompt or messages is required");
}

absl::Status ValidateDetokenize(const v1::DetokenizeRequest& request, const ServedModel& model) {
  if (absl::Status status = ValidateModel(request.model(), model); !status.ok()) return status;
  return CheckTokenIds("tokens", request.token_ids(), model.vocab_size);
}

absl::Status FitContext(const v1::GenerateRequest& request, const ServedModel& model,
                        bool chat_defaults, EngineRequest* engine) {
  const std::string_view param = PromptParam(request);
  absl::Status status = CheckPrompt(param, model, engine->prompt);
  if (!status.ok()) return status;
  const int64_t prompt = static_cast<int64_t>(engine->prompt.size());
  const int64_t rest = model.max_context - prompt;
  if (!request.stop().has_max_tokens()) {
    // What is left is enough, as long as there is room for one token.
    if (rest < 1) return TooLong(param, model, prompt, 1);
    const int64_t wanted = chat_defaults ? rest : kCompletionsMaxTokens;
    engine->max_tokens = static_cast<uint32_t>(std::min(wanted, rest));
    if (engine->min_tokens > engine->max_tokens) {
      return OutOfRange("min_tokens", Cat("at most max_tokens (", engine->max_tokens, ")"),
                        Cat(engine->min_tokens));
    }
  } else if (engine->max_tokens > rest) {
    return TooLong(rest < 1 ? param : "max_tokens", model, prompt, engine->max_tokens);
  }
  return absl::OkStatus();
}

absl::Status FitContext(const v1::ScoreRequest& /*request*/, const ServedModel& model,
                        const EngineRequest& engine) {
  absl::Status status = CheckPrompt("prompt", model, engine.prompt);
  if (status.ok() && static_cast<int64_t>(engine.prompt.size()) > model.max_context) {
    status = TooLong("prompt", model, engine.prompt.size(), 0);
  }
  return status;
}

absl::Status PromptTooLong(const v1::GenerateRequest& request, const ServedModel& model,
                           uint64_t at_least) {
  // Without max_tokens there must be room for one token, as in FitContext.
  const uint64_t max_tokens = request.stop().has_max_tokens() ? request.stop().max_tokens() : 1;
  return TooLong(PromptParam(request), model, at_least, max_tokens, /*at_least=*/true);
}

absl::Status PromptTooLong(const v1::ScoreRequest& /*request*/, const ServedModel& model,
                           uint64_t at_least) {
  return TooLong("prompt", model, at_least, 0, /*at_least=*/true);
}

}  // namespace latentd
