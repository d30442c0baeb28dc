// The decode attention, emulated or on a device, against the CPU oracle; and its promise of equal
// bits.
#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/cuda/mla_decode_case.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    shapes.push_back({12, 4, 64, 32, norm});  // one chunk: warpgroup 0 has no columns
    shapes.push_back({5, 5, 128, 6, norm});   // a rotary part that fills no 16 bytes
    shapes.push_back({16, 1, 192, 0, norm});  // no rotary part, halves of unequal width
    shapes.push_back({63, 3, 64, 64, norm});
    shapes.push_back({16, 16, 512, 64, norm});
  }
  shapes.push_back({128, 128, 64, 50, KeyNorm::kUnified});  // two tiles of rows
  shapes.push_back({65, 5, 128, 1, KeyNorm::kBlockwise});   // a tile with one row
  for (const int latent : {256, 320, 384, 448}) {
    shapes.push_back({2, 2, latent, 64, KeyNorm::kBlockwise});
  }
  return shapes;
}

// With query rows as wgmma's rows and as its columns.
void RequireBothNearOracle(const Step& step, int num_processors) {
  const int heads = step.shape.num_heads;
  RequireNearOracle(step, step.Run(PlanDecode(step.sequences, heads, num_processors), 0));
  RequireNearOracle(
      step, RunSwapped(step, PlanDecodeWith(step.sequences, heads, num_processors, kUnitTokens)));
}

TEST_CASE("the decode attention agrees with the oracle", "[small]") {
  std::mt19937 rng(11);
  for (const Shape& shape : Shapes()) {
    const Step step(rng, shape, {130, 1, 64, 65}, {1, 1, 3, 2});
    RequireBothNearOracle(step, 5);
  }
}

TEST_CASE("random geometries agree with the oracle") {
  std::mt19937 rng(12);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution(low, high)(rng);
  };
  for (int round = 0; round < 12; ++round) {
    const int groups = pick(1, 8);
    const Shape shape = {groups * pick(1, 8), groups, 64 * pick(1, 4), pick(0, 64),
                         static_cast<KeyNorm>(pick(0, 2))};
    std::vector<int64_t> lengths, new_tokens;
    for (int i = pick(1, 3); i > 0; --i) {
      lengths.push_back(pick(1, 300));
      new_tokens.push_back(std::min<int64_t>(pick(1, 5), lengths.back()));
    }
    const Step step(rng, shape, lengths, new_tokens);
    RequireBothNearOracle(step, pick(1, 7));
  }
}

TEST_CASE("long contexts agree with the oracle, and items of any span give the same bits",
          "[small]") {
  std::mt19937 rng(13);
  const Shape shape = {3, 1, 64, 16, KeyNorm::kBlockwise};
  for (const int64_t length : {513, 2048, 2100, 4700}) {
    const Step step(rng, shape, {length}, {2});
    const DecodePlan units = PlanDecodeWith(step.sequences, shape.num_heads, 132, kUnitTokens);
    const DecodePlan groups = PlanDecodeWith(step.sequences, shape.num_heads, 2, kGroupTokens);
    for (const int columns : {0, 64}) {
      const std::vector<float> out = step.Run(units, columns);
      RequireNearOracle(step, out);
      RequireSameBits(step.Run(groups, columns), out, std::to_string(length) + " tokens");
    }
  }
}

TEST_CASE("a row has the bits that it has alone, in any batch and any packing of queries") {
  std::mt19937 rng(14);
  const Shape shape = {24, 4, 128, 32, KeyNorm::kUnified};
  const Step step(rng, shape, {70, 600, 127}, {3, 6, 1});
  // As the heads say, 64 columns together and 32 alone; then as wgmma's rows.
  for (const std::optional<int> columns : {std::optional<int>(), std::optional(0)}) {
    const std::vector<float> together =
        step.Run(PlanDecode(step.sequences, shape.num_heads, 2), columns);
    for (size_t i = 0; i < step.sequences.size(); ++i) {
      for (int64_t token = 0; token < step.sequences[i].num_tokens; ++token) {
        const Step alone = step.Only(i, token, 1);
        const std::vector<float> out =
            alone.Run(PlanDecode(alone.sequences, shape.num_heads, 132), columns);
        const int64_t row = (step.sequences[i].first_row + token) * shape.num_heads;
        const auto begin = static_cast<size_t>(row * shape.row_latent);
        const auto count = static_cast<size_t>(shape.num_heads * shape.row_latent);
        RequireSameBits(std::span(out).subspan(begin, count),
                        std::span(together).subspan(begin, count),
                        "sequence " + std::to_string(i) + " token " + std::to_string(token));
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
