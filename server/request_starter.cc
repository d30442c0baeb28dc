#include "server/request_starter.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"
#include "server/errors.h"
#include "server/generation.h"
#include "server/scoring.h"

namespace latentd {
namespace {

// A prompt that is somewhat too long is counted to its end, so that its error has exact numbers.
size_t CountedTokens(const ServedModel& model) {
  return 2 * static_cast<size_t>(model.max_context);
}

}  // namespace

v1::Width WidthOf(const EngineRequest& engine) {
  v1::Width width;
  width.set_q(static_cast<uint32_t>(engine.width_q));
  width.set_kv(static_cast<uint32_t>(engine.width_kv));
  return width;
}

uint64_t SystemSeed() {
  static thread_local std::random_device device;
  return uint64_t{device()} << 32 | uint64_t{device()};
}

absl::Status RequestStarter::CheckWanted(const CallContext& context) const {
  if (context.left && context.left()) return absl::CancelledError("the caller left");
  if (!context.deadline || parts_.clock->Now() < *context.deadline) return absl::OkStatus();
  return absl::DeadlineExceededError("the deadline passed before the request could be started");
}

absl::Status NamePrompt(const absl::Status& status, size_t index) {
  constexpr std::string_view kPrompt = "prompt";
  const v1::ErrorDetail detail = DetailOf(status);
  const std::string& param = detail.param();
  if (param != kPrompt && param.rfind("prompt[", 0) != 0) return status;
  const std::string name = absl::StrCat("prompt[", index, "]");
  const std::string message(status.message());
  // Most messages begin with the field.
  const bool named = message.rfind(param + " ", 0) == 0;
  return BadField(name + param.substr(kPrompt.size()),
                  named ? name + message.substr(kPrompt.size()) : name + ": " + message,
                  detail.code());
}

absl::Status RequestStarter::Complete(const v1::GenerateRequest& request,
                                      const CallContext& context, EngineRequest* engine) const {
  if (absl::Status status = CheckWanted(context); !status.ok()) return status;
  auto prompt = PromptTokens(request, tools_, CountedTokens(*model_));
  if (!prompt.ok()) return prompt.status();
  if (prompt->at_least != 0) return PromptTooLong(request, *model_, prompt->at_least);
  engine->prompt = std::move(prompt->ids);
  const bool chat_defaults = context.chat_defaults || request.has_chat();
  absl::Status status = FitContext(request, *model_, chat_defaults, engine);
  if (!status.ok()) return status;
  if (!request.sampling().has_seed()) engine->sampling.seed = parts_.random_seed();
  return absl::OkStatus();
}

absl::StatusOr<GenerateStreams> RequestStarter::Generate(std::vector<v1::GenerateRequest>* requests,
                                                         const CallContext& context,
                                                         std::vector<EngineRequest> engines) const {
  std::vector<GenerationSpec> specs;
  std::vector<std::string> salts;
  for (size_t i = 0; i < requests->size(); ++i) {
    v1::GenerateRequest& request = (*requests)[i];
    if (absl::Status status = Complete(request, context, &engines[i]); !status.ok()) {
      return context.prompt_list ? NamePrompt(status, i) : status;
    }
    specs.push_back(MakeSpec(&request, engines[i]));
    salts.push_back(request.cache_salt());
  }
  if (absl::Status status = CheckWanted(context); !status.ok()) return status;
  absl::StatusOr<std::vector<Started>> started = Submit(context, salts, std::move(engines));
  if (!started.ok()) return started.status();
  GenerateStreams streams;
  for (size_t i = 0; i < specs.size(); ++i) {
    Started& one = (*started)[i];
    streams.push_back(MakeGenerateStream(std::move(specs[i]), std::move(one.tokens),
                                         parts_.tokenizer, std::move(one.meter),
                                         std::move(one.ticket)));
  }
  return streams;
}

absl::StatusOr<std::shared_ptr<ScoreStream>> RequestStarter::Score(const v1::ScoreRequest& request,
                                                                   const CallContext& context,
                                                                   EngineRequest engine) const {
  if (absl::Status status = CheckWanted(context); !status.ok()) return status;
  auto prompt = PromptTokens(request, tools_, CountedTokens(*model_));
  if (!prompt.ok()) return prompt.status();
  if (prompt->at_least != 0) return PromptTooLong(request, *model_, prompt->at_least);
  engine.prompt = std::move(prompt->ids);
  if (absl::Status status = FitContext(request, *model_, engine); !status.ok()) return status;
  const v1::Width width = WidthOf(engine);
  std::vector<EngineRequest> engines;
  engines.push_back(std::move(engine));
  absl::StatusOr<std::vector<Started>> started = Submit(context, {""}, std::move(engines));
  if (!started.ok()) return started.status();
  Started& one = started->front();
  return MakeScoreStream(width, std::move(one.tokens), parts_.tokenizer, std::move(one.meter),
                         std::move(one.ticket));
}

absl::StatusOr<v1::TokenizeResponse> RequestStarter::Tokenize(const v1::TokenizeRequest& request,
                                                              const CallContext& context) const {
  if (absl::Status status = CheckWanted(context); !status.ok()) return status;
  const auto prompt = PromptTokens(request, tools_);
  if (!prompt.ok()) return prompt.status();
  v1::TokenizeResponse response;
  response.set_max_context(static_cast<uint32_t>(model_->max_context));
  for (const uint32_t id : prompt->ids) {
    response.add_token_ids(id);
    response.add_tokens(ToValidUtf8(parts_.tokenizer->TokenBytesView(id)));
  }
  return response;
}

v1::DetokenizeResponse RequestStarter::Detokenize(const v1::DetokenizeRequest& request) const {
  const std::vector<uint32_t> ids(request.token_ids().begin(), request.token_ids().end());
  v1::DetokenizeResponse response;
  response.set_text(parts_.tokenizer->Decode(ids, /*skip_special=*/false));
  return response;
}

// `engine` is complete but for deadline and salt.
GenerationSpec RequestStarter::MakeSpec(v1::GenerateRequest* request,
                                        const EngineRequest& engine) const {
  GenerationSpec spec;
  spec.request_id = request->request_id().empty()
                        ? absl::StrCat(absl::Hex(SystemSeed(), absl::kZeroPad16))
                        : request->request_id();
  spec.num_choices = engine.num_choices;
  spec.logprobs = engine.top_logprobs.has_value();
  spec.width = WidthOf(engine);
  spec.width_by_policy = engine.width_by_policy;
  OutputOptions& output = spec.output;
  output.stops.assign(request->stop().strings().begin(), request->stop().strings().end());
  output.include_stop = request->stop().include_stop_string();
  output.skip_special = !request->has_skip_special_tokens() || request->skip_special_tokens();
  output.min_tokens = engine.min_tokens;
  output.end_tokens = engine.eos_token_ids;
  output.end_tokens.insert(output.end_tokens.end(), engine.stop_token_ids.begin(),
                           engine.stop_token_ids.end());
  std::sort(output.end_tokens.begin(), output.end_tokens.end());
  if (request->echo()) {
    spec.echo_ids = engine.prompt;
    spec.echo_text = request->has_text()
                         ? std::move(*request->mutable_text())
                         : parts_.tokenizer->Decode(engine.prompt, output.skip_special);
  }
  return spec;
}

// Meters are made when all are in: what is withdrawn again was no request.
absl::StatusOr<std::vector<RequestStarter::Started>> RequestStarter::Submit(
    const CallContext& context, const std::vector<std::string>& salts,
    std::vector<EngineRequest> engines) const {
  std::vector<std::shared_ptr<TokenStream>> streams;
  std::vector<std::pair<uint64_t, uint32_t>> sizes;  // prompt tokens, choices
  const std::lock_guard lock(submit_mutex_);
  for (size_t i = 0; i < engines.size(); ++i) {
    EngineRequest& engine = engines[i];
    engine.deadline = context.deadline;
    const std::array<uint64_t, 2> salt = salts_.Salt(context.key_id, salts[i]);
    engine.tenant_salt[0] = salt[0];
    engine.tenant_salt[1] = salt[1];
    sizes.emplace_back(engine.prompt.size(), engine.num_choices);
    absl::StatusOr<std::shared_ptr<TokenStream>> tokens = parts_.engine->Submit(std::move(engine));
    if (tokens.ok()) {
      streams.push_back(*std::move(tokens));
      continue;
    }
    for (const auto& stream : streams) stream->Cancel();
    if (tokens.status().code() == absl::StatusCode::kUnavailable) return Draining();
    return tokens.status();
  }
  std::vector<Started> started;
  for (size_t i = 0; i < streams.size(); ++i) {
    started.push_back(
        {std::move(streams[i]),
         std::make_unique<RequestMeter>(parts_.metrics, parts_.clock, context.received,
                                        sizes[i].first, sizes[i].second),
         in_flight_->Ticket()});
  }
  return started;
}

}  // namespace latentd
