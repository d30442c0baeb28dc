#include "engine/cuda/angle_table.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <set>

#include "engine/cuda/step_inputs.h"
#include "kernels/rope.h"
#include "tests/engine/model/model_runner.h"

namespace latentd {

TEST_CASE("a table of angles has the bits of RopeAngles, in any order and asked again") {
  RopeConfig rope;
  rope.inv_freq = {1, 0.37, 1e-3};
  rope.magnitude = 1.25f;
  AngleTable table(rope, 1 << 20);
  REQUIRE(table.num_positions() == 1 << 20);
  std::vector<int32_t> positions = {0, 1, (1 << 20) - 1, 1, 0};
  std::mt19937 rng(1);
  for (int i = 0; i < 1000; ++i) positions.push_back(static_cast<int32_t>(rng() % (1 << 10)));
  const std::set<int32_t> different(positions.begin(), positions.end());
  std::vector<float> expected(positions.size() * 6);
  RopeAngles(positions, rope.inv_freq, rope.magnitude,
             {expected.data(), static_cast<int64_t>(positions.size()), 6, 6});
  for (size_t i = 0; i < positions.size(); ++i) {
    const std::span<const float> row = table.Row(positions[i]);
    CAPTURE(i, positions[i]);
    REQUIRE(row.size() == 6);
    REQUIRE(std::memcmp(row.data(), &expected[6 * i], sizeof(float) * 6) == 0);
  }
  CHECK(table.num_computed() == static_cast<int64_t>(different.size()));
}

TEST_CASE("a decode step finds its angles computed, but for a sequence that has just come") {
  const ModelConfig config = Geometry();
  StepSender sender(config, {.max_rows = 70, .max_sequences = 4, .max_context = 128}, 3);
  const cuda::Stream stream;
  const std::vector<uint32_t> ids(70, 5), table = {9, 10};
  // (first position, tokens) of each sequence.
  const auto computes = [&](const std::vector<std::pair<int64_t, size_t>>& portions) {
    StepPlan plan;
    for (const auto& [first, count] : portions) {
      plan.entries.push_back({.first_position = first,
                              .token_ids = std::span(ids).first(count),
                              .block_table = table});
    }
    StepBatch batch;
    batch.Build(plan, config.full_width());
    const int64_t before = sender.angles().num_computed();
    sender.Send(stream.get(), &batch, {});
    const int64_t computed = sender.angles().num_computed() - before;
    stream.Wait();
    sender.PrepareNext(batch);
    return computed;
  };
  CHECK(computes({{0, 10}, {50, 1}}) == 11);
  CHECK(computes({{10, 1}, {51, 1}}) == 0);
  CHECK(computes({{90, 1}, {52, 1}, {11, 1}}) == 1);
  CHECK(computes({{12, 1}, {91, 1}}) == 0);
  CHECK(computes({{0, 60}}) == 60 - 14 - 4);  // 0 … 13 and 50 … 53 were
  CHECK(computes({{127, 1}}) == 1);           // and no next one fits
}

}  // namespace latentd
