// What is answered without generating: tokens, scores, the model, the state of things.
#include <catch2/catch.hpp>
#include <string>

#include "tests/server/service_fixture.h"

namespace latentd {
namespace {

using Fixture = testing::ServiceFixture;
using testing::kBos;
using testing::OneMessage;
using testing::ReadAll;
using testing::WithBos;

TEST_CASE("Tokenize and Detokenize") {
  Fixture f;
  v1::TokenizeRequest request;
  request.set_text("é");
  auto response = f.Tokenize(request);
  REQUIRE(response.ok());
  CHECK(std::vector<uint32_t>(response->token_ids().begin(), response->token_ids().end()) ==
        WithBos("é"));
  REQUIRE(response->tokens_size() == 3);
  CHECK(response->tokens(0) == "<s>");
  CHECK(response->tokens(1) == "\xEF\xBF\xBD");
  CHECK(response->max_context() == 64);
  request.set_add_special_tokens(false);
  CHECK(f.Tokenize(request)->token_ids_size() == 2);

  v1::TokenizeRequest chat;
  *chat.mutable_chat() = OneMessage("hi");
  CHECK(f.Tokenize(chat)->token_ids_size() == 19);
  chat.set_add_special_tokens(true);
  CHECK(f.Tokenize(chat)->token_ids_size() == 20);

  v1::DetokenizeRequest back;
  for (const uint32_t id : {kBos, uint32_t{'h'}, uint32_t{0xFF}}) back.add_token_ids(id);
  CHECK(f.Detokenize(back)->text() == "<s>h\xEF\xBF\xBD");
  back.add_token_ids(testing::kVocabSize);
  CHECK(f.Detokenize(back).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("Score asks for the prompt's log-probabilities and generates nothing") {
  Fixture f;
  v1::ScoreRequest request;
  request.set_text("hi");
  request.set_top(2);
  auto stream = f.Score(request);
  REQUIRE(stream.ok());
  const EngineRequest& engine = f.engine.requests.at(0);
  CHECK(engine.prompt == WithBos("hi"));
  CHECK(engine.max_tokens == 0);
  CHECK(engine.prompt_top_logprobs == 2u);
  f.engine.last.lock()->FirstPromptToken(kBos);
  f.engine.last.lock()->End();
  auto read = ReadAll(**stream);
  REQUIRE(read.messages.size() == 1);
  CHECK(read.messages[0].num_tokens() == 0);
  CHECK(read.messages[0].width().kv() == 128);
}

TEST_CASE("What the model is") {
  Fixture f;
  const auto model = f.service().GetModel("");
  REQUIRE(model.ok());
  CHECK(model->id() == "demo");
  CHECK(model->family() == "latent_mla");
  CHECK(model->max_context() == 64);
  CHECK(model->qk_norm() == "blockwise");
  CHECK(model->kv_lora_rank() == 128);
  CHECK(model->cache_bytes_per_token() == 900);
  CHECK(model->determinism() == "strict");
  CHECK(model->elastic().q_ranks(0) == 96);
  CHECK(model->elastic().continuous());
  CHECK(f.service().GetModel("demo").ok());
  CHECK(f.service().GetModel("x").status().code() == absl::StatusCode::kNotFound);
  CHECK(f.service().ListModels().models(0).id() == "demo");
}

TEST_CASE("Status and cache statistics") {
  Fixture f;
  f.engine.stats.requests_running = 2;
  f.engine.stats.requests_waiting = 1;
  f.engine.stats.tokens_in_use = 9;
  f.engine.stats.pages_free = 5;
  f.service();
  f.clock.ms += 1500;
  const v1::Status status = f.service().GetStatus();
  CHECK(status.version() == "1.2.3");
  CHECK(status.backend() == "cpu");
  CHECK(status.running() == 2);
  CHECK(status.waiting() == 1);
  CHECK(status.uptime_seconds() == 1.5);
  CHECK(f.service().GetCacheStats().tokens_in_use() == 9);
  CHECK(f.service().GetCacheStats().pages_free() == 5);
}

TEST_CASE("Liveness is progress of layers while there is work") {
  Fixture f;
  f.engine.in_flight = 1;
  f.engine.stats.sequences_running = 1;
  CHECK(f.service().live());
  f.clock.ms += 119'999;
  CHECK(f.service().live());
  f.clock.ms += 1;
  CHECK_FALSE(f.service().live());
  CHECK_FALSE(f.service().GetStatus().ready());
  f.engine.stats.layers_done = 1;
  CHECK(f.service().live());
  f.clock.ms += 1'000'000;
  f.engine.stats.sequences_running = 0;  // its reader does not drain
  CHECK(f.service().live());
  f.engine.in_flight = 0;  // idle, however long
  CHECK(f.service().live());
}

}  // namespace
}  // namespace latentd
