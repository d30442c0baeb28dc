// The estimate against machines that differ from what was measured: a chunk as long as the estimate
// allows, what it takes, and again.
#include "engine/scheduler/cost_tracker.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/scheduler/budget.h"

namespace latentd {
namespace {

constexpr int64_t kBudget_us = 250'000, kMostTokens = 512;

// A step takes base + token · tokens.
struct Machine {
  double base_us, token_us;
  double Took(int64_t tokens) const { return base_us + token_us * static_cast<double>(tokens); }
  CostModel AsMeasured() const { return TokensTimes(1); }
  // Its tokens, and they alone, measured wrong.
  CostModel TokensTimes(double by) const {
    return {.token_us = token_us * by, .position_us = 0, .base_us = base_us};
  }
};

const Machine kSmall = {40'000, 6'000}, kLarge = {466'000, 30'000};

Machine Slower(const Machine& machine, double by) {
  return {machine.base_us * by, machine.token_us * by};
}

struct Run {
  explicit Run(const CostModel& measured) : tracker(measured, kBudget_us) {}
  int64_t ChunkTokens() const {
    return std::max<int64_t>(1, MaxTokensWithin(tracker.cost(), 0, kMostTokens, kBudget_us));
  }
  // Returns the tokens.
  int64_t Prefill(const Machine& machine, double disturbance = 1) {
    const int64_t tokens = ChunkTokens();
    tracker.Observe({.prefill_us = EstimateUs(tracker.cost(), 0, tokens)},
                    disturbance * machine.Took(tokens));
    return tokens;
  }
  void Decode(const Machine& machine, int64_t sequences, double disturbance = 1) {
    tracker.Observe({.decode_us = EstimateUs(tracker.cost(), 0, sequences)},
                    disturbance * machine.Took(sequences));
  }
  CostTracker tracker;
};

// A chunk fills the budget, to a token: rounding may be to either side.
void CheckFull(const Machine& machine, int64_t tokens) {
  CAPTURE(tokens);
  CHECK(std::abs(static_cast<double>(tokens) - std::floor(kBudget_us / machine.token_us)) <= 1);
}

}  // namespace

TEST_CASE("the median of five: two may be anything, three make it follow") {
  RecentMedian median(1);
  for (const double sample : {1e9, 1e-9, 1.0, 1.0, 1.0, 1e9, 1e9, 1.0, 1.0, 1.0, 1e-9, 1e-9}) {
    median.Add(sample);
    CHECK(median.value() == 1);
  }
  std::array<double, 5> order = {1, 2, 3, 4, 5};
  do {
    for (const double sample : order) median.Add(sample);
    CHECK(median.value() == 3);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("a machine that does as measured changes nothing") {
  for (const Machine& machine : {kSmall, kLarge}) {
    Run run(machine.AsMeasured());
    for (int i = 0; i < 20; ++i) {
      run.Prefill(machine);
      run.Decode(machine, 1 + i % 3);
    }
    CHECK(run.tracker.factor() == Approx(1));
    CHECK(run.tracker.cost().base_us == Approx(machine.base_us));
  }
}

TEST_CASE("measured while all was seven times slower, chunks recover") {
  for (const Machine& machine : {kSmall, kLarge}) {
    Run run(Slower(machine, 7).AsMeasured());
    for (int i = 0; i < 30; ++i) run.Prefill(machine);
    CheckFull(machine, run.ChunkTokens());
  }
}

TEST_CASE("tokens measured seven times too dear, chunks recover") {
  for (const Machine& machine : {kSmall, kLarge}) {
    for (const bool decodes : {false, true}) {
      CAPTURE(machine.base_us, decodes);
      Run run(machine.TokensTimes(7));
      for (int i = 0; i < 40; ++i) {
        run.Prefill(machine);
        if (decodes && i % 10 == 0) run.Decode(machine, 1);
      }
      CheckFull(machine, run.ChunkTokens());
    }
  }
}

TEST_CASE("tokens measured seven times too cheap, steps return to the budget") {
  for (const Machine& machine : {kSmall, kLarge}) {
    CAPTURE(machine.base_us);
    Run run(machine.TokensTimes(1 / 7.0));
    for (int i = 0; i < 40; ++i) {
      run.Prefill(machine);
      if (i % 10 == 0) run.Decode(machine, 1);
    }
    CheckFull(machine, run.ChunkTokens());
  }
}

TEST_CASE("tokens measured a thousand times too cheap, steps return to the budget") {
  Run run(kSmall.TokensTimes(1e-3));
  for (int i = 0; i < 32; ++i) {  // a thousand is ten times two, of three steps each
    if (i % 5 == 0) run.Decode(kSmall, 1);
    run.Prefill(kSmall);
  }
  CheckFull(kSmall, run.ChunkTokens());
}

TEST_CASE("what lasts is followed, there and back, with many decodes between or few") {
  for (const Machine& machine : {kSmall, kLarge}) {
    for (const double by : {1.6, 4.0}) {
      for (const int every : {1, 7, 100}) {  // chunks to a decode
        CAPTURE(machine.base_us, by, every);
        Run run(machine.AsMeasured());
        for (const double now : {1.0, by, 1.0}) {
          const Machine present = Slower(machine, now);
          for (int i = 0; i < 30; ++i) {
            if (i % every == 0) run.Decode(present, 1);
            run.Prefill(present);
          }
          CAPTURE(now);
          CheckFull(present, run.ChunkTokens());
        }
      }
    }
  }
}

TEST_CASE("a base that alone grows beyond the budget does not shorten chunks to a token each") {
  // Reading the weights has become dear: the more often, the slower.
  const Machine slow = {4 * kLarge.base_us, kLarge.token_us};
  Run run(kLarge.AsMeasured());
  int64_t least = kMostTokens;
  for (int i = 0; i < 100; ++i) least = std::min(least, run.Prefill(slow));
  CHECK(least >= 2);  // eight as measured, and at most four times dearer
  for (int i = 0; i < 20; ++i) {
    run.Decode(slow, 1);
    run.Prefill(slow);
  }
  CheckFull(slow, run.ChunkTokens());
}

TEST_CASE("one disturbed step changes nothing, whichever it is") {
  for (int disturbed = 0; disturbed < 12; ++disturbed) {
    Run run(kSmall.AsMeasured());
    for (int i = 0; i < 24; ++i) {
      const double disturbance = i == disturbed ? 100 : 1;
      if (i % 3 == 0) {
        run.Decode(kSmall, 1, disturbance);
      } else {
        run.Prefill(kSmall, disturbance);
      }
      CHECK(run.tracker.factor() == Approx(1));
    }
    CHECK(run.tracker.cost().base_us == Approx(kSmall.base_us));
  }
}

TEST_CASE("noise moves the factor no further than it goes itself") {
  // Chunks then differ by a few tokens, whose times say nothing of what those tokens cost.
  Run run(kSmall.AsMeasured());
  for (int i = 0; i < 200; ++i) {
    run.Prefill(kSmall, 1 + 0.1 * (i * 37 % 11) / 10);
    CHECK(run.tracker.factor() > 0.999);
    CHECK(run.tracker.factor() < 1.101);
  }
}

TEST_CASE("a storm of three steps shortens chunks to half at most, and is forgotten") {
  Run run(kSmall.AsMeasured());
  for (int i = 0; i < 10; ++i) run.Prefill(kSmall);
  for (int i = 0; i < 3; ++i) run.Prefill(kSmall, 100);
  for (int i = 0; i < 10; ++i) {
    CHECK(run.tracker.factor() <= 2);
    run.Prefill(kSmall);
  }
  CHECK(run.tracker.factor() == Approx(1));
}

TEST_CASE("decodes leave the factor alone, faster or slower") {
  for (const double by : {0.5, 1.0, 5.0, 100.0}) {
    Run run(kSmall.AsMeasured());
    for (int i = 0; i < 100; ++i) run.Decode(Slower(kSmall, by), 1 + i % 4);
    CHECK(run.tracker.factor() == 1);
  }
}

TEST_CASE("prompts too short for the budget to matter leave the factor alone") {
  Run run(kSmall.AsMeasured());
  for (int i = 0; i < 100; ++i) {  // a quarter of the budget is 10.4 tokens
    run.tracker.Observe({.prefill_us = EstimateUs(run.tracker.cost(), 0, 8)}, kSmall.Took(4));
  }
  CHECK(run.tracker.factor() == 1);
}

TEST_CASE("decodes that take less than their estimate disprove it") {
  Run run(kSmall.TokensTimes(20));
  for (int i = 0; i < 30; ++i) run.Decode(kSmall, 32);
  // No more is known than that all of a step went to its tokens.
  CHECK(run.tracker.factor() == Approx(kSmall.Took(32) / (32 * 20 * kSmall.token_us)));
}

TEST_CASE("a first token that fills the budget alone is not believed unseen") {
  // A step of one token takes as long as measured: only a longer one tells.
  Run run({.token_us = 480'000, .position_us = 0, .base_us = 16'000});
  for (int i = 0; i < 30; ++i) run.Prefill(kLarge);
  CheckFull(kLarge, run.ChunkTokens());
}

}  // namespace latentd
