#include "tests/engine/engine_fixture.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

namespace latentd {
namespace {

bool SameEntry(const LogprobEntry& a, const LogprobEntry& b) {
  return a.token == b.token && a.logprob == b.logprob && a.rank == b.rank;
}

}  // namespace

bool SameLogprobs(const TokenLogprobs& a, const TokenLogprobs& b) {
  return SameEntry(a.chosen, b.chosen) &&
         std::equal(a.top.begin(), a.top.end(), b.top.begin(), b.top.end(), SameEntry);
}

bool ChoiceResult::operator==(const ChoiceResult& o) const {
  return tokens == o.tokens && token_hashes == o.token_hashes && finished == o.finished &&
         finish == o.finish && matched_token == o.matched_token && hash == o.hash &&
         std::equal(logprobs.begin(), logprobs.end(), o.logprobs.begin(), o.logprobs.end(),
                    SameLogprobs);
}

ChoiceResult& Reader::choice(uint32_t index) {
  if (choices.size() <= index) choices.resize(index + 1);
  return choices[index];
}

void Reader::Read(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    std::optional<TokenEvent> event = stream->TryPop();
    if (!event) return;
    REQUIRE_FALSE(end);
    ++num_events;
    ChoiceResult& result = choice(event->choice);
    switch (event->kind) {
      case TokenEvent::Kind::kPrompt:
        REQUIRE(event->choice == 0);
        for (const ChoiceResult& c : choices) REQUIRE(c.tokens.empty());
        prompt.push_back(std::move(*event));
        break;
      case TokenEvent::Kind::kToken:
        REQUIRE_FALSE(result.finished);
        result.tokens.push_back(event->token);
        if (event->logprobs) result.logprobs.push_back(std::move(*event->logprobs));
        if (event->logits_hash) result.token_hashes.push_back(*event->logits_hash);
        break;
      case TokenEvent::Kind::kFinish:
        REQUIRE_FALSE(result.finished);
        result.finished = true;
        result.finish = event->finish;
        result.matched_token = event->matched_token;
        result.hash = event->logits_hash;
        break;
      case TokenEvent::Kind::kEnd:
        end = std::move(event);
        break;
    }
  }
}

namespace {

std::vector<float> RowAtWidth(const FakeModel& model, int64_t width_q, int64_t width_kv,
                              const std::vector<uint32_t>& prefix) {
  SequenceOracle oracle(model, width_q, width_kv);
  for (const uint32_t token : prefix) oracle.Push(token);
  std::vector<float> row(static_cast<size_t>(model.vocab_size));
  model.Logits(oracle.seen(), row);
  return row;
}

}  // namespace

std::vector<float> NaiveRow(const FakeModel& model, const std::vector<uint32_t>& prefix) {
  return RowAtWidth(model, 0, 0, prefix);
}

ChoiceResult NaiveChoice(const FakeModel& model, const EngineRequest& request, uint32_t choice,
                         const std::string& backend) {
  std::vector<uint32_t> ending = request.eos_token_ids;
  ending.insert(ending.end(), request.stop_token_ids.begin(), request.stop_token_ids.end());
  ChoiceState state(request.sampling, choice, request.prompt, request.min_tokens, ending,
                    model.vocab_size);
  Sampler sampler(model.vocab_size);
  LogitsHash hash(backend);
  ChoiceResult result;
  result.finished = true;
  result.finish = EngineFinish::kLength;
  std::vector<uint32_t> known = request.prompt;
  while (result.tokens.size() < request.max_tokens && !result.matched_token) {
    const std::vector<float> row = RowAtWidth(model, request.width_q, request.width_kv, known);
    const uint32_t token = sampler.Draw(state, row).value();
    hash.AddRow(row);
    if (request.top_logprobs) {
      result.logprobs.push_back(RawLogprobs(row, token, *request.top_logprobs));
    }
    if (request.logits_hash) result.token_hashes.push_back(hash.Digest());
    result.tokens.push_back(token);
    known.push_back(token);
    state.Accept(token);
    if (std::find(ending.begin(), ending.end(), token) == ending.end()) continue;
    result.finish = EngineFinish::kStop;
    result.matched_token = token;
  }
  if (request.logits_hash) result.hash = hash.Digest();
  return result;
}

Harness::Harness(HarnessOptions given) : options(std::move(given)) {
  pool = BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), options.num_blocks).value();
  FakeExecutorOptions fake_options;
  fake_options.model = options.model;
  fake_options.clock = &clock;
  fake_options.mid_entry = options.mid_entry;
  fake = std::make_unique<FakeExecutor>(pool.get(), std::move(fake_options));
  if (options.wrap) wrapped = options.wrap(fake.get());
  Executor* const executor = wrapped != nullptr ? wrapped.get() : fake.get();
  loop = std::make_unique<EngineLoop>(options.engine, executor, pool.get(), &clock, options.draw);
}

Reader Harness::Submit(EngineRequest request) {
  auto stream = loop->Submit(std::move(request));
  REQUIRE(stream.status() == absl::OkStatus());
  return Reader(*std::move(stream));
}

void Harness::Settle() {
  for (int turns = 0; Turn(); ++turns) REQUIRE(turns < 100000);
}

void Harness::Settle(const std::vector<Reader*>& readers) {
  for (int turns = 0; Turn(); ++turns) {
    REQUIRE(turns < 100000);
    for (Reader* reader : readers) reader->Read();
  }
}

bool Harness::Idle() const { return loop->Stats().tokens_in_use == 0 && loop->InFlight() == 0; }

std::vector<uint32_t> Prompt(uint64_t seed, size_t count) {
  std::mt19937_64 random(seed);
  std::vector<uint32_t> tokens(count);
  for (uint32_t& token : tokens) token = static_cast<uint32_t>(random() % 32);
  return tokens;
}

EngineRequest Greedy(uint64_t seed, size_t prompt_tokens) {
  EngineRequest request;
  request.prompt = Prompt(seed, prompt_tokens);
  request.sampling.temperature = 0;
  request.max_tokens = 10;
  return request;
}

EngineRequest Varied(uint64_t seed) {
  std::mt19937_64 random(seed);
  EngineRequest request;
  request.prompt = Prompt(seed, 1 + random() % 150);
  request.max_tokens = static_cast<uint32_t>(1 + random() % 160);
  request.num_choices = random() % 3 == 0 ? 3 : 1;
  request.sampling.seed = random();
  request.sampling.temperature = random() % 3 == 0 ? 0.0F : 1.0F;
  request.sampling.top_k = random() % 2 == 0 ? 8 : 0;
  request.sampling.top_p = random() % 2 == 0 ? 0.9F : 1.0F;
  request.sampling.repetition_penalty = random() % 2 == 0 ? 1.25F : 1.0F;
  request.sampling.frequency_penalty = random() % 2 == 0 ? 0.5F : 0.0F;
  if (random() % 2 == 0) request.stop_token_ids = {static_cast<uint32_t>(random() % 32)};
  if (random() % 2 == 0) request.eos_token_ids = {5, 6};
  request.min_tokens = static_cast<uint32_t>(random() % 8);
  if (random() % 2 == 0) request.top_logprobs = 3;
  request.logits_hash = random() % 2 == 0;
  return request;
}

}  // namespace latentd
