// Tokens that the CUDA executor draws, its kernels emulated: those that the host draws from the
// logits of the same rows.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <map>

#include "engine/sampling/sampler_batch.h"
#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/cuda/drawn_result.h"
#include "tests/engine/model/model_runner.h"
#include "tests/kernels/cuda/emulated_device.h"
#include "tests/kernels/cuda/sampler_case.h"

namespace latentd {
namespace {

constexpr size_t kVocab = 50;

using Row = std::pair<size_t, int64_t>;  // entry, position
using Draws = std::map<Row, cuda::SamplerCase>;

// Two sequences, all of whose rows are wanted: more than one tile of them.
struct TwoSequences {
  explicit TwoSequences(const RandomModel& model, const StepLimits& limits)
      : runner(model.config, model.weights, limits),
        first(runner.NewSequence(Tokens(90, 1))),
        second(runner.NewSequence(Tokens(41, 2))) {
    plan.entries = {StepRunner::EntryOf(first, 90), StepRunner::EntryOf(second, 41)};
  }

  std::map<Row, std::vector<float>> AllLogits() {
    std::map<Row, std::vector<float>> rows;
    runner.executor->Run(plan, Keep(&rows), &outcomes);
    REQUIRE(rows.size() == 131);
    return rows;
  }
  // The rows that came as logits, once those that came as tokens were right.
  std::map<Row, std::vector<float>> CheckTokens(const Draws& draws) {
    std::map<Row, std::vector<float>> rows;
    size_t num_taken = 0;
    TokenSink tokens;
    tokens.wanted = [&](size_t entry, int64_t position) -> std::optional<WantedToken> {
      const auto draw = draws.find({entry, position});
      if (draw == draws.end()) return std::nullopt;
      return WantedToken{&draw->second.choice, draw->second.num_top, draw->second.mask};
    };
    tokens.take = [&](size_t entry, int64_t position, const absl::StatusOr<DrawnToken>& token) {
      INFO("entry " << entry << " position " << position);
      ++num_taken;
      const cuda::SamplerResult expected = SampleOnCpu(draws.at({entry, position}));
      RequireSame(ResultOf(token, expected), expected);
    };
    runner.executor->RunAndDraw(plan, Keep(&rows), tokens, &outcomes);
    REQUIRE(num_taken + rows.size() == 131);
    return rows;
  }
  static LogitsSink Keep(std::map<Row, std::vector<float>>* rows) {
    return [rows](size_t entry, int64_t position, std::span<float> logits) {
      REQUIRE(rows->try_emplace({entry, position}, logits.begin(), logits.end()).second);
    };
  }

  DeviceRunner runner;
  StepRunner::Sequence first, second;
  StepPlan plan;
  std::vector<EntryOutcome> outcomes;
};

StepLimits Limits(int64_t max_sequences, int64_t draw_list_bytes) {
  StepLimits limits = DeviceRunner::Limits();
  limits.max_sequences = max_sequences;
  limits.draw_list_bytes = draw_list_bytes;
  return limits;
}

cuda::SamplerCase RandomDraw(std::mt19937_64& random, const std::vector<float>& logits) {
  cuda::SamplerCase draw = cuda::RandomCase(random, kVocab);
  draw.logits = logits;
  return draw;
}

}  // namespace

TEST_CASE("tokens drawn on the device are the host's, and only rows without a token are copied") {
  const RandomModel model = MakeRandomModel(Geometry(), 31, DType::kBF16);
  TwoSequences step(model, Limits(200, 1 << 20));
  const auto logits = step.AllLogits();
  const uint64_t allocations = cuda::EmulatedAllocations();
  std::mt19937_64 random(32);
  for (int round = 0; round < 4; ++round) {
    Draws draws;
    for (const auto& [row, values] : logits) {
      if (round == 0 || random() % 4 > 0) draws.try_emplace(row, RandomDraw(random, values));
    }
    const cuda::EmulatedFetches before = cuda::FetchedFromEmulated();
    const auto rest = step.CheckTokens(draws);
    const cuda::EmulatedFetches after = cuda::FetchedFromEmulated();
    REQUIRE(rest.size() == logits.size() - draws.size());
    for (const auto& [row, values] : rest) CHECK(values == logits.at(row));
    // One copy of tokens, every row of which has room for the most logprobs that one asked for.
    CHECK(after.copies - before.copies == 1 + (rest.size() + 63) / 64);
    CHECK(after.bytes - before.bytes == draws.size() * (32 + 8 * 20) + rest.size() * kVocab * 4);
  }
  CHECK(cuda::EmulatedAllocations() == allocations);
}

TEST_CASE("rows that find no room on the device come as logits") {
  const RandomModel model = MakeRandomModel(Geometry(), 33);
  const auto [max_sequences, list_bytes, num_drawn] =
      GENERATE(table<int64_t, int64_t, size_t>({{30, 1 << 20, 30},      // no row left
                                                {200, 18 * 8 - 1, 17},  // one byte too few
                                                {200, 18 * 8, 18},      // just enough lists
                                                {200, 0, 0}}));         // none
  TwoSequences step(model, Limits(max_sequences, list_bytes));
  SamplingParams params;
  params.logit_bias = {{7, 3.0F}};  // a list of 8 bytes
  Draws draws;
  for (const auto& [row, values] : step.AllLogits()) {
    draws.try_emplace(row, cuda::PlainCase(params, values));
  }
  CHECK(step.CheckTokens(draws).size() == 131 - num_drawn);
}

TEST_CASE("every list that a draw brings counts") {
  const RandomModel model = MakeRandomModel(Geometry(), 34);
  std::mt19937_64 random(35);
  for (const int64_t list_bytes : {400, 4000}) {
    TwoSequences step(model, Limits(200, list_bytes));
    Draws draws;
    size_t num_left = 0, used = 0;
    for (const auto& [row, values] : step.AllLogits()) {  // in the order of the batch
      const cuda::SamplerCase& draw =
          draws.try_emplace(row, RandomDraw(random, values)).first->second;
      SamplerBatch batch;
      batch.Add(draw.choice, draw.num_top, draw.mask);
      const size_t bytes = 8 * (batch.uses.size() + batch.biases.size()) +
                           4 * (batch.masked.size() + batch.allowed.size());
      const bool has_room = used + bytes <= static_cast<size_t>(list_bytes);
      used += has_room ? bytes : 0;
      num_left += has_room ? 0 : 1;
    }
    CHECK(step.CheckTokens(draws).size() == num_left);
    CHECK(num_left > 0);
  }
}

TEST_CASE("a sequence that is cancelled in the step is given no token") {
  const RandomModel model = MakeRandomModel(Geometry(), 36);
  TwoSequences step(model, Limits(16, 0));
  const auto logits = step.AllLogits();
  std::atomic<bool> cancelled = false;
  step.plan.entries[0].cancelled = &cancelled;
  step.plan.entries[0].first_logits_position = 89;
  step.plan.entries[1].first_logits_position = 40;
  SamplingParams params;
  params.temperature = 0;
  const ChoiceState greedy(params, 0, {}, 0, {}, kVocab);
  std::vector<size_t> taken;
  const TokenSink tokens = {
      .wanted = [&](size_t, int64_t) -> std::optional<WantedToken> {
        cancelled = true;  // after the step has begun
        return WantedToken{.choice = &greedy, .top_logprobs = {}, .mask = {}};
      },
      .take =
          [&](size_t entry, int64_t position, const absl::StatusOr<DrawnToken>& token) {
            taken.push_back(entry);
            const std::vector<float>& row = logits.at({entry, position});
            CHECK(token->token == std::max_element(row.begin(), row.end()) - row.begin());
          }};
  step.runner.executor->RunAndDraw(
      step.plan, [](size_t, int64_t, std::span<float>) { FAIL(); }, tokens, &step.outcomes);
  CHECK(step.outcomes == std::vector<EntryOutcome>{EntryOutcome::kCancelled, EntryOutcome::kDone});
  CHECK(taken == std::vector<size_t>{1});
}

}  // namespace latentd
