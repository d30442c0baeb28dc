#include <catch2/catch.hpp>
#include <random>

#include "engine/cuda/attention_launches.h"
#include "kernels/cuda/decode_plan.h"

namespace latentd {
namespace {

struct Step {
  std::vector<AttentionSequence> sequences;
  int64_t num_heads, row_latent, max_context;
};

Step RandomStep(std::mt19937& rng) {
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution(low, high)(rng);
  };
  Step step{{}, pick(1, 130), 64 * pick(1, 8), pick(1, 10000)};
  int64_t row = pick(0, 50);
  for (int64_t i = pick(0, 6); i > 0; --i) {
    const int64_t length = pick(1, step.max_context);
    const int64_t tokens = std::min<int64_t>(length, pick(1, 300));
    step.sequences.push_back({{}, row, tokens, length - tokens});
    row += tokens;
  }
  return step;
}

}  // namespace

TEST_CASE("launches have every token once, in order, and their partial sums fit") {
  std::mt19937 rng(1);
  for (int round = 0; round < 300; ++round) {
    const Step step = RandomStep(rng);
    const int64_t least = LeastPartialFloats(step.num_heads, step.row_latent, step.max_context);
    const int64_t room = least * std::uniform_int_distribution<int64_t>(1, 20)(rng);
    const std::vector<AttentionLaunch> launches =
        CutLaunches(step.sequences, step.num_heads, step.row_latent, room);
    CAPTURE(round, launches.size());
    REQUIRE(FitOneLaunch(step.sequences, step.num_heads, step.row_latent, room) ==
            (launches.size() <= 1));
    size_t sequence = 0;
    int64_t done = 0;  // tokens of it
    for (const AttentionLaunch& launch : launches) {
      REQUIRE_FALSE(launch.sequences.empty());
      REQUIRE(launch.first_sequence == sequence);
      for (size_t i = 0; i < launch.sequences.size(); ++i) {
        const AttentionSequence& part = launch.sequences[i];
        const AttentionSequence& whole = step.sequences[launch.first_sequence + i];
        REQUIRE(launch.first_sequence + i == sequence);
        REQUIRE(part.num_tokens >= 1);
        REQUIRE(part.first_row == whole.first_row + done);
        REQUIRE(part.first_position == whole.first_position + done);
        done += part.num_tokens;
        REQUIRE(done <= whole.num_tokens);
        if (done < whole.num_tokens) continue;
        ++sequence;
        done = 0;
      }
      for (const int64_t span : {kUnitTokens, kGroupTokens}) {
        const cuda::DecodePlan plan =
            cuda::PlanDecodeWith(launch.sequences, static_cast<int>(step.num_heads), 132, span);
        REQUIRE(plan.num_slots * plan.slot_rows * cuda::SlotRowFloats(step.row_latent) <= room);
      }
    }
    REQUIRE(sequence == step.sequences.size());
  }
}

TEST_CASE("what fits is one launch") {
  const std::vector<AttentionSequence> sequences = {{{}, 0, 40, 0}, {{}, 40, 1, 3000}};
  const cuda::DecodePlan plan = cuda::PlanDecodeWith(sequences, 16, 132, kUnitTokens);
  const int64_t all = plan.num_slots * plan.slot_rows * cuda::SlotRowFloats(512);
  CHECK(CutLaunches(sequences, 16, 512, all).size() == 1);
  CHECK(CutLaunches(sequences, 16, 512, all - 1).size() == 2);
  CHECK(CutLaunches({}, 16, 512, all).empty());
}

}  // namespace latentd
