// From a validated request to its stream: template, tokenizer, context, engine. Runs on a thread of
// the preparation pool.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/in_flight.h"
#include "server/prompt.h"
#include "server/request_meter.h"
#include "server/service.h"
#include "server/tenant_salt.h"
#include "server/validate.h"

namespace latentd {

struct GenerationSpec;
using GenerateStreams = std::vector<std::shared_ptr<GenerateStream>>;

// What is wrong with a prompt (param "prompt" or an element of it), told as that of prompt `index`
// of a list. Other errors stay.
absl::Status NamePrompt(const absl::Status& status, size_t index);

// Thread-safe. Borrows what `parts` borrows, and `model`.
class RequestStarter {
 public:
  // parts.random_seed is set.
  RequestStarter(const ServiceParts& parts, const ServedModel* model)
      : parts_(parts), model_(model), tools_{parts.tokenizer, parts.chat_template} {}

  // `engines` is what the validator made of `requests`, whose strings may be taken. All are started
  // or none.
  absl::StatusOr<GenerateStreams> Generate(std::vector<v1::GenerateRequest>* requests,
                                           const CallContext& context,
                                           std::vector<EngineRequest> engines) const;
  absl::StatusOr<std::shared_ptr<ScoreStream>> Score(const v1::ScoreRequest& request,
                                                     const CallContext& context,
                                                     EngineRequest engine) const;
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                                const CallContext& context) const;
  v1::DetokenizeResponse Detokenize(const v1::DetokenizeRequest& request) const;

  // DEADLINE_EXCEEDED when the request's deadline has passed, CANCELLED when its caller has left.
  absl::Status CheckWanted(const CallContext& context) const;

  const TenantSalts& salts() const { return salts_; }
  InFlightCount& in_flight() const { return *in_flight_; }

 private:
  struct Started {
    std::shared_ptr<TokenStream> tokens;
    std::unique_ptr<RequestMeter> meter;
    std::shared_ptr<void> ticket;  // counts in flight while held
  };
  // Prompt, max_tokens and seed of *engine.
  absl::Status Complete(const v1::GenerateRequest& request, const CallContext& context,
                        EngineRequest* engine) const;
  // `salts` has one element a request.
  absl::StatusOr<std::vector<Started>> Submit(const CallContext& context,
                                              const std::vector<std::string>& salts,
                                              std::vector<EngineRequest> engines) const;
  GenerationSpec MakeSpec(v1::GenerateRequest* request, const EngineRequest& engine) const;

  const ServiceParts parts_;
  const ServedModel* const model_;
  const PromptTools tools_;
  const TenantSalts salts_;
  mutable std::mutex submit_mutex_;  // one list at a time, so that two do not share what fits one
  // Shared with the streams, which may outlive the service.
  const std::shared_ptr<InFlightCount> in_flight_ = std::make_shared<InFlightCount>();
};

// The ranks that the request runs at.
v1::Width WidthOf(const EngineRequest& engine);

// 64 bits of the system's randomness. Any thread.
uint64_t SystemSeed();

}  // namespace latentd
