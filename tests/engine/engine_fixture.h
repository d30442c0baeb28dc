// An engine over the fake executor, driven turn by turn, and the answer it must give: each choice
// computed alone, without cache, scheduler or engine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cache/block_pool.h"
#include "engine/engine_loop.h"
#include "tests/fakes/fake_executor.h"

namespace latentd {

// What one choice should look like, or looked like.
struct ChoiceResult {
  std::vector<uint32_t> tokens;
  std::vector<TokenLogprobs> logprobs;
  std::vector<LogitsDigest> token_hashes;
  bool finished = false;
  EngineFinish finish = EngineFinish::kStop;
  std::optional<uint32_t> matched_token;
  std::optional<LogitsDigest> hash;  // of kFinish

  bool operator==(const ChoiceResult& other) const;
};

// Everything popped from one stream.
struct Reader {
  explicit Reader(std::shared_ptr<TokenStream> stream) : stream(std::move(stream)) {}
  // Pops at most `count` events. Checks that nothing follows the end of a choice or of the request.
  void Read(size_t count = static_cast<size_t>(-1));
  ChoiceResult& choice(uint32_t index);

  std::shared_ptr<TokenStream> stream;
  std::vector<TokenEvent> prompt;  // kPrompt
  std::vector<ChoiceResult> choices;
  std::optional<TokenEvent> end;
  size_t num_events = 0;
};

bool SameLogprobs(const TokenLogprobs& a, const TokenLogprobs& b);

// The rows of the fake model after the tokens of `prefix`.
std::vector<float> NaiveRow(const FakeModel& model, const std::vector<uint32_t>& prefix);
ChoiceResult NaiveChoice(const FakeModel& model, const EngineRequest& request, uint32_t choice,
                         const std::string& backend = "");

struct HarnessOptions {
  EngineOptions engine;
  int64_t num_blocks = 64;
  FakeModel model;
  std::function<void(size_t entry_idx)> mid_entry;
  DrawFunction draw;
  // Wraps the fake executor; owned by the harness.
  std::function<std::unique_ptr<Executor>(Executor*)> wrap;
};

// The executor advances the clock by a millisecond a step; nothing else does.
struct Harness {
  explicit Harness(HarnessOptions options = {});

  Reader Submit(EngineRequest request);
  // One turn; false if there was nothing to do.
  bool Turn() { return loop->RunOnce(clock.Now()); }
  // Turns until nothing is left to do.
  void Settle();
  // Reads whatever is there after each turn, until nothing is left to do.
  void Settle(const std::vector<Reader*>& readers);
  // No block is in use: those not free are reusable prefixes.
  bool Idle() const;

  HarnessOptions options;
  ManualClock clock;
  std::unique_ptr<BlockPool> pool;
  std::unique_ptr<Executor> fake, wrapped;
  std::unique_ptr<EngineLoop> loop;
};

// A prompt of `count` tokens below 32, different for each seed.
std::vector<uint32_t> Prompt(uint64_t seed, size_t count);
// Greedy, ten tokens.
EngineRequest Greedy(uint64_t seed, size_t prompt_tokens);
// Parameters of every kind, different for each seed.
EngineRequest Varied(uint64_t seed);

}  // namespace latentd
