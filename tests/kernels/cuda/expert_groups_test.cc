// Choices by expert, emulated or on a device, against their definition.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/kernels/cuda/expert_choices.h"

namespace latentd::cuda {
namespace {

bool Same(const ExpertTile& a, const ExpertTile& b) {
  return a.expert == b.expert && a.first_row == b.first_row && a.num_rows == b.num_rows;
}

void RequireGroups(const Choices& choices) {
  const MixtureShape& shape = choices.shape;
  std::vector<int32_t> offsets, of_place, places(static_cast<size_t>(choices.NumChoices()));
  std::vector<ExpertTile> tiles;
  for (int32_t e = 0; e < shape.num_experts; ++e) {
    const auto first = static_cast<int32_t>(of_place.size());
    offsets.push_back(first);
    for (int32_t i = 0; i < choices.NumChoices(); ++i) {
      if (choices.Id(i) != e) continue;
      places[static_cast<size_t>(i)] = static_cast<int32_t>(of_place.size());
      of_place.push_back(i);
    }
    const auto end = static_cast<int32_t>(of_place.size());
    for (int32_t row = first; e < shape.num_weighted && row < end; row += 32) {
      tiles.push_back({e, row, std::min(32, end - row)});
    }
  }
  offsets.push_back(static_cast<int32_t>(of_place.size()));
  for (std::vector<int32_t>* list : {&offsets, &of_place, &places}) list->push_back(kGarbage);

  INFO(shape.Describe());
  const Groups groups(choices);
  REQUIRE(tiles.size() <= Groups::NumTiles(choices));
  tiles.resize(Groups::NumTiles(choices), {0, 0, 0});
  tiles.push_back({kGarbage, kGarbage, kGarbage});
  CHECK(groups.offsets.Read() == offsets);
  CHECK(groups.of_place.Read() == of_place);
  CHECK(groups.places.Read() == places);
  const std::vector<ExpertTile> actual = groups.tiles.Read();
  CHECK(std::equal(actual.begin(), actual.end(), tiles.begin(), tiles.end(), Same));
}

TEST_CASE("GroupByExpert sorts choices by expert, then by number, and cuts them into tiles") {
  std::mt19937 rng(1);
  const MixtureShape fixed[] = {
      {0, 2, 5, 4, 3},        {1, 1, 1, 1, 1},   {1, 8, 256, 256, 256},  {40, 1, 3, 0, 3},
      {700, 8, 257, 200, 90}, {513, 1, 7, 7, 1}, {64, 8, 1024, 900, 17}, {128, 4, 4, 4, 4}};
  for (const MixtureShape& shape : fixed) RequireGroups(Choices(rng, shape));
  for (int i = 0; i < 20; ++i) {
    const auto any = [&](int64_t low, int64_t high) {
      return low + static_cast<int64_t>(rng()) % (high - low + 1);
    };
    const int64_t k = any(1, 8), num_experts = any(k, 70);
    RequireGroups(
        Choices(rng, {any(1, 150), k, num_experts, any(0, num_experts), any(k, num_experts)}));
  }
}

}  // namespace
}  // namespace latentd::cuda
