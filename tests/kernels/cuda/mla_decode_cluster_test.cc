// Pairs of thread blocks that share what they read, emulated or on a device: the oracle, and the
// bits of a row that is read alone.
#include <catch2/catch.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/kernels/cuda/mla_decode_case.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

DecodePlan Pairs(const Step& step, int num_processors, int64_t span_tokens) {
  return PlanDecodeWith(step.sequences, step.shape.num_heads, num_processors, span_tokens,
                        kClusterCtas);
}

TEST_CASE("pairs of row tiles agree with the oracle, and with tiles on their own bit by bit",
          "[small]") {
  std::mt19937 rng(16);
  for (const Shape& shape : {
           Shape{128, 128, 64, 0, KeyNorm::kNone},  // one chunk, which the blocks copy in turn
           Shape{128, 8, 192, 50, KeyNorm::kUnified}, Shape{128, 128, 512, 64, KeyNorm::kBlockwise},
           Shape{65, 5, 128, 1, KeyNorm::kBlockwise},  // a tile with one row
           Shape{130, 2, 64, 16, KeyNorm::kNone},      // a third tile, whose partner has no rows
           Shape{3, 1, 64, 16, KeyNorm::kUnified},     // one tile, and no rows beside it
       }) {
    const Step step(rng, shape, {130, 1, 64, 65}, {1, 1, 2, 1});
    const std::vector<float> alone =
        step.Run(PlanDecodeWith(step.sequences, shape.num_heads, 5, kGroupTokens), 0);
    for (const int processors : {2, 7}) {
      const std::vector<float> out = step.Run(Pairs(step, processors, kGroupTokens), 0);
      RequireNearOracle(step, out);
      RequireSameBits(out, alone, shape.Describe() + " on " + std::to_string(processors));
    }
  }
}

// Tiles of a pair see up to 64 · 2 / H tokens more or less: a last tile of tokens, a unit, or the
// whole of an item is then masked for the first of them.
TEST_CASE("pairs whose tiles see to different tiles, units and items keep every bit", "[small]") {
  std::mt19937 rng(17);
  const Shape shape = {1, 1, 64, 16, KeyNorm::kBlockwise};
  for (const auto& [length, new_tokens] : std::vector<std::pair<int64_t, int64_t>>{
           {200, 200}, {130, 130}, {560, 128}, {2100, 128}, {2060, 200}, {4700, 100}}) {
    const Step step(rng, shape, {length, 70}, {new_tokens, 1});
    const std::vector<float> alone =
        step.Run(PlanDecodeWith(step.sequences, shape.num_heads, 3, kUnitTokens), 0);
    RequireNearOracle(step, alone);
    for (const int64_t span : {kUnitTokens, kGroupTokens}) {
      RequireSameBits(step.Run(Pairs(step, 6, span), 0), alone,
                      std::to_string(length) + " tokens by " + std::to_string(span));
    }
  }
}

TEST_CASE("in pairs too a row has the bits that it has alone") {
  std::mt19937 rng(18);
  const Shape shape = {72, 4, 128, 32, KeyNorm::kUnified};
  const Step step(rng, shape, {70, 600, 127}, {3, 5, 1});
  const std::vector<float> together = step.Run(Pairs(step, 4, kUnitTokens));
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    for (int64_t token = 0; token < step.sequences[i].num_tokens; ++token) {
      const Step one = step.Only(i, token, 1);
      const int64_t row = (step.sequences[i].first_row + token) * shape.num_heads;
      const auto begin = static_cast<size_t>(row * shape.row_latent);
      const auto count = static_cast<size_t>(shape.num_heads * shape.row_latent);
      for (const DecodePlan& plan :
           {PlanDecodeWith(one.sequences, shape.num_heads, 132, kGroupTokens),
            Pairs(one, 132, kUnitTokens)}) {
        const std::vector<float> out = one.Run(plan);
        RequireSameBits(std::span(out).subspan(begin, count),
                        std::span(together).subspan(begin, count),
                        "sequence " + std::to_string(i) + " token " + std::to_string(token) +
                            " cluster " + std::to_string(plan.cluster));
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
