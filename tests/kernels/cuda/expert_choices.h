// Experts that tokens chose, and the buffers of GroupByExpert.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/experts.h"
#include "tests/kernels/cuda/memory.h"

namespace latentd::cuda {

inline constexpr int32_t kGarbage = 0x7f7f7f7f;

struct MixtureShape {
  int64_t tokens, top_k, num_experts, num_weighted;
  int64_t num_chosen;  // so many experts are chosen at all
  std::string Describe() const {
    return "T " + std::to_string(tokens) + " k " + std::to_string(top_k) + " E " +
           std::to_string(num_experts) + " weighted " + std::to_string(num_weighted) + " chosen " +
           std::to_string(num_chosen);
  }
};

// Ascending ids in each row, with garbage behind it.
struct Choices {
  Choices(std::mt19937& rng, const MixtureShape& shape) : shape(shape) {
    std::vector<int32_t> all(static_cast<size_t>(shape.num_experts));
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), rng);
    all.resize(static_cast<size_t>(shape.num_chosen));
    for (int64_t t = 0; t < shape.tokens; ++t) {
      std::shuffle(all.begin(), all.end(), rng);
      std::sort(all.begin(), all.begin() + shape.top_k);
      ids.insert(ids.end(), all.begin(), all.begin() + shape.top_k);
      ids.insert(ids.end(), 2, kGarbage);
    }
  }
  int64_t Ld() const { return shape.top_k + 2; }
  int64_t NumChoices() const { return shape.tokens * shape.top_k; }
  int32_t Id(int64_t choice) const {
    return ids[static_cast<size_t>(choice / shape.top_k * Ld() + choice % shape.top_k)];
  }

  MixtureShape shape;
  std::vector<int32_t> ids;
};

// The buffers of a step, full of garbage and larger than it needs.
struct Groups {
  explicit Groups(const Choices& choices)
      : ids(choices.ids),
        offsets(Garbage(choices.shape.num_experts + 2)),
        of_place(Garbage(choices.NumChoices() + 1)),
        places(of_place.Read()),
        tiles(std::vector<ExpertTile>(NumTiles(choices) + 1, {kGarbage, kGarbage, kGarbage})),
        counts(Garbage(NumChoiceChunks(choices.NumChoices()) * choices.shape.num_experts + 1)) {
    const MixtureShape& shape = choices.shape;
    GroupByExpert(nullptr, {.experts = ids.View(shape.tokens, shape.top_k, choices.Ld()),
                            .num_experts = shape.num_experts,
                            .num_weighted = shape.num_weighted,
                            .groups = View()});
  }
  static std::vector<int32_t> Garbage(int64_t count) {
    return std::vector<int32_t>(static_cast<size_t>(count), kGarbage);
  }
  static size_t NumTiles(const Choices& choices) {
    return static_cast<size_t>(MaxExpertTiles(choices.NumChoices(), choices.shape.num_weighted));
  }
  ExpertGroups View() const {
    return {offsets.data(), of_place.data(), places.data(), tiles.data(), counts.data()};
  }

  Array<int32_t> ids, offsets, of_place, places;
  Array<ExpertTile> tiles;
  Array<int32_t> counts;
};

}  // namespace latentd::cuda
