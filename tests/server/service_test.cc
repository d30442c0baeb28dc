#include "server/service.h"

#include <catch2/catch.hpp>
#include <string>

#include "server/errors.h"
#include "tests/server/service_fixture.h"

namespace latentd {
namespace {

using Fixture = testing::ServiceFixture;
using testing::Bytes;
using testing::kBos;
using testing::kEos;
using testing::OneMessage;
using testing::ReadAll;
using testing::TextOf;
using testing::TextPrompt;
using testing::WithBos;

TEST_CASE("A width goes to the engine, and the answer names the one used") {
  Fixture f;
  v1::GenerateRequest request = TextPrompt("hi");
  request.mutable_width()->set_q(37);
  auto stream = f.Generate(request);
  REQUIRE(stream.ok());
  CHECK(f.engine.requests.at(0).width_q == 37);
  CHECK(f.engine.requests.at(0).width_kv == 128);  // half a width: the full rank for the other half
  auto tokens = f.engine.last.lock();
  REQUIRE(tokens);
  tokens->Token(kEos);
  tokens->Finish(EngineFinish::kStop, 0, kEos);
  tokens->End();
  const auto read = ReadAll(**stream);
  CHECK(read.messages[0].width().q() == 37);
  CHECK(read.messages[0].width().kv() == 128);

  v1::ScoreRequest score;
  score.set_text("hi");
  score.mutable_width()->set_kv(5);
  auto scored = f.Score(score);
  REQUIRE(scored.ok());
  CHECK(f.engine.requests.at(1).width_q == 192);
  CHECK(f.engine.requests.at(1).width_kv == 5);
  tokens = f.engine.last.lock();
  REQUIRE(tokens);
  tokens->End();
  const auto totals = ReadAll(**scored);
  CHECK(totals.messages.at(0).width().q() == 192);
  CHECK(totals.messages.at(0).width().kv() == 5);
}

TEST_CASE("A text prompt goes through tokenizer and engine and comes back as text") {
  Fixture f;
  CallContext context;
  context.deadline = f.clock.Now() + std::chrono::seconds(5);
  v1::GenerateRequest request = TextPrompt("hi");
  request.set_request_id("abc");
  auto stream = f.Generate(request, context);
  REQUIRE(stream.ok());
  const EngineRequest& engine = f.engine.requests.at(0);
  CHECK(engine.prompt == WithBos("hi"));
  CHECK(engine.max_tokens == 16);
  CHECK(engine.eos_token_ids == std::vector<uint32_t>{kEos});
  CHECK(engine.sampling.seed == 77);
  CHECK(engine.deadline == context.deadline);
  CHECK(engine.width_q == 192);
  CHECK(engine.width_kv == 128);
  CHECK(f.service().InFlight() == 1);

  auto tokens = f.engine.last.lock();
  REQUIRE(tokens);
  tokens->Text("yo");
  tokens->Token(kEos);
  tokens->Finish(EngineFinish::kStop, 0, kEos);
  tokens->End();
  auto read = ReadAll(**stream);
  CHECK(TextOf(read) == "yo");
  CHECK(read.messages[0].request_id() == "abc");
  CHECK(read.messages[0].width().q() == 192);
  CHECK(read.messages.back().usage().prompt_tokens() == 3);
  CHECK(read.messages.back().usage().completion_tokens() == 3);
  CHECK(f.service().InFlight() == 0);
  CHECK(f.metrics.refusals.empty());
}

TEST_CASE("What becomes of the prompt's forms") {
  Fixture f;
  SECTION("text without special tokens") {
    v1::GenerateRequest request = TextPrompt("hi");
    request.set_add_special_tokens(false);
    REQUIRE(f.Generate(request).ok());
    CHECK(f.engine.requests.at(0).prompt == Bytes("hi"));
  }
  SECTION("an empty text has its BOS") {
    REQUIRE(f.Generate(TextPrompt("")).ok());
    CHECK(f.engine.requests.at(0).prompt == std::vector<uint32_t>{kBos});
  }
  SECTION("an empty text without it is refused") {
    v1::GenerateRequest request = TextPrompt("");
    request.set_add_special_tokens(false);
    const auto stream = f.Generate(request);
    CHECK(stream.status().message() == "prompt must have at least one token");
    CHECK(f.metrics.refusals == std::vector<Refusal>{Refusal::kInvalid});
    CHECK(f.engine.requests.empty());
  }
  SECTION("ids are taken as they are") {
    v1::GenerateRequest request;
    request.mutable_token_ids()->add_ids(5);
    request.mutable_token_ids()->add_ids(258);
    REQUIRE(f.Generate(request).ok());
    CHECK(f.engine.requests.at(0).prompt == std::vector<uint32_t>{5, 258});
    CHECK(f.engine.requests.at(0).max_tokens == 16);
  }
  SECTION("chat goes through the template, without BOS, and has the rest of the context") {
    v1::GenerateRequest request;
    *request.mutable_chat() = OneMessage("hi");
    REQUIRE(f.Generate(request).ok());
    CHECK(f.engine.requests.at(0).prompt == Bytes("user: hi\nassistant:"));
    CHECK(f.engine.requests.at(0).max_tokens == 64 - 19);
  }
  SECTION("chat may ask for special tokens and no generation prompt") {
    v1::GenerateRequest request;
    *request.mutable_chat() = OneMessage("hi");
    request.mutable_chat()->set_add_generation_prompt(false);
    request.set_add_special_tokens(true);
    REQUIRE(f.Generate(request).ok());
    CHECK(f.engine.requests.at(0).prompt == WithBos("user: hi\n"));
  }
  SECTION("the last message may be continued") {
    v1::GenerateRequest request;
    *request.mutable_chat() = OneMessage("hi");
    request.mutable_chat()->set_continue_final_message(true);
    REQUIRE(f.Generate(request).ok());
    CHECK(f.engine.requests.at(0).prompt == Bytes("user: hi"));
  }
  SECTION("what the template refuses is told") {
    v1::GenerateRequest request;
    *request.mutable_chat() = OneMessage("forbidden");
    const auto stream = f.Generate(request);
    CHECK(stream.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(stream.status().message()).find("not this") != std::string::npos);
    CHECK(DetailOf(stream.status()).param() == "messages");
  }
  SECTION("a completion over HTTP with chat's default") {
    CallContext context;
    context.chat_defaults = true;
    REQUIRE(f.Generate(TextPrompt("hi"), context).ok());
    CHECK(f.engine.requests.at(0).max_tokens == 61);
  }
}

TEST_CASE("Seeds, ids and salts") {
  Fixture f;
  v1::GenerateRequest request = TextPrompt("hi");
  request.mutable_sampling()->set_seed(0);
  auto stream = f.Generate(request);
  REQUIRE(stream.ok());
  CHECK(f.engine.requests.at(0).sampling.seed == 0);
  auto again = f.Generate(request);
  f.engine.last.lock()->Text("x");
  auto read = ReadAll(**again);
  CHECK(read.messages.at(0).request_id().size() == 16);  // made by the server

  request.set_cache_salt("s");
  REQUIRE(f.Generate(request).ok());
  REQUIRE(f.Generate(request).ok());
  CallContext other;
  other.key_id = "k";
  REQUIRE(f.Generate(request, other).ok());
  const auto salt = [&](size_t i) {
    const EngineRequest& r = f.engine.requests.at(i);
    return std::vector<uint64_t>{r.tenant_salt[0], r.tenant_salt[1]};
  };
  CHECK(salt(0) == salt(1));
  CHECK(salt(1) != salt(2));
  CHECK(salt(2) == salt(3));
  CHECK(salt(3) != salt(4));

  v1::FlushCacheRequest flush;
  CHECK(f.service().FlushCache(flush).blocks_freed() == 7);
  CHECK(f.engine.flushed.empty());
  flush.set_cache_salt("s");
  f.service().FlushCache(flush);
  CHECK(f.engine.flushed == salt(2));
}

TEST_CASE("echo gives the text as it was sent, or the decoded ids") {
  Fixture f;
  v1::GenerateRequest request = TextPrompt("h</s>i");
  request.set_echo(true);
  request.mutable_logprobs()->set_top(2);
  auto stream = f.Generate(request);
  REQUIRE(stream.ok());
  CHECK(f.engine.requests.at(0).prompt == std::vector<uint32_t>{kBos, 'h', kEos, 'i'});
  CHECK(f.engine.requests.at(0).prompt_top_logprobs == 2u);
  auto read = ReadAll(**stream);
  CHECK(TextOf(read) == "h</s>i");
  CHECK(read.messages.at(0).token_ids_size() == 4);

  v1::GenerateRequest ids;
  for (const uint32_t id : {kBos, uint32_t{'h'}}) ids.mutable_token_ids()->add_ids(id);
  ids.set_echo(true);
  CHECK(TextOf(ReadAll(**f.Generate(ids))) == "h");
  ids.set_skip_special_tokens(false);
  CHECK(TextOf(ReadAll(**f.Generate(ids))) == "<s>h");
}

}  // namespace
}  // namespace latentd
