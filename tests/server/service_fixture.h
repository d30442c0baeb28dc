// The Service over an engine that the test plays; each call waits for its answer.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/service.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/fake_engine.h"
#include "tests/server/stream_reader.h"

namespace latentd::testing {

template <typename T>
using Result = absl::StatusOr<T>;

struct ServiceFixture {
  ServiceFixture() {
    model.config.family = "latent_mla";
    model.config.vocab_size = kVocabSize;
    model.config.q_lora_rank = 192;
    model.config.kv_lora_rank = 128;
    model.config.num_heads = 12;
    model.config.key_norm = KeyNorm::kBlockwise;
    model.config.elastic = ElasticConfig{{96, 192}, {64, 128}, true, true};
    model.generation.eos_token_ids = {kEos};
    parts.model = &model;
    parts.tokenizer = tokenizer.get();
    parts.chat_template = chat_template.get();
    parts.engine = &engine;
    parts.metrics = &metrics;
    parts.clock = &clock;
    parts.model_id = "demo";
    parts.version = "1.2.3";
    parts.backend = "cpu";
    parts.max_context = 64;
    parts.cache_bytes_per_token = 900;
    parts.preprocess_threads = 1;  // a test can hold it, and requests stay in order
    parts.random_seed = [] { return uint64_t{77}; };
  }
  Service& service() {
    if (!made) made = Service::Create(parts);
    return *made;
  }

  Result<std::shared_ptr<GenerateStream>> Generate(v1::GenerateRequest request,
                                                   CallContext context = {}) {
    auto answer = std::make_shared<std::promise<Result<std::shared_ptr<GenerateStream>>>>();
    service().Generate(std::move(request), std::move(context),
                       [answer](auto result) { answer->set_value(std::move(result)); });
    return answer->get_future().get();
  }
  Result<std::shared_ptr<ScoreStream>> Score(v1::ScoreRequest request) {
    auto answer = std::make_shared<std::promise<Result<std::shared_ptr<ScoreStream>>>>();
    service().Score(std::move(request), {},
                    [answer](auto result) { answer->set_value(std::move(result)); });
    return answer->get_future().get();
  }
  Result<v1::TokenizeResponse> Tokenize(v1::TokenizeRequest request, CallContext context = {}) {
    auto answer = std::make_shared<std::promise<Result<v1::TokenizeResponse>>>();
    service().Tokenize(std::move(request), std::move(context),
                       [answer](auto result) { answer->set_value(std::move(result)); });
    return answer->get_future().get();
  }
  Result<v1::DetokenizeResponse> Detokenize(v1::DetokenizeRequest request) {
    auto answer = std::make_shared<std::promise<Result<v1::DetokenizeResponse>>>();
    service().Detokenize(std::move(request),
                         [answer](auto result) { answer->set_value(std::move(result)); });
    return answer->get_future().get();
  }

  Model model;
  std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  std::unique_ptr<ChatTemplate> chat_template = MakeChatTemplate();
  FakeEngine engine;
  CountingMetrics metrics;
  FakeClock clock;
  ServiceParts parts;
  std::unique_ptr<Service> made;
};

inline v1::GenerateRequest TextPrompt(const std::string& text) {
  v1::GenerateRequest request;
  request.set_text(text);
  return request;
}

inline v1::Chat OneMessage(const std::string& content) {
  v1::Chat chat;
  v1::Message* message = chat.add_messages();
  message->set_role("user");
  message->set_content(content);
  return chat;
}

inline std::vector<uint32_t> WithBos(std::string_view text) {
  std::vector<uint32_t> ids = Bytes(text);
  ids.insert(ids.begin(), kBos);
  return ids;
}

}  // namespace latentd::testing
