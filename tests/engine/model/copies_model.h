// A random model served from copies of its weights in few bits.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "engine/model/weight_copies.h"
#include "tests/engine/model/model_runner.h"

namespace latentd {

// Several groups of K in most products, the last one cut; experts in the second layer.
inline RandomModel ModelOfCopies(WeightCopies format) {
  ModelConfig config = Geometry();
  config.hidden_size = 160;
  config.intermediate_size = 200;
  config.moe = MoeConfig{.router = {.num_experts = 6, .top_k = 3},
                         .expert_intermediate_size = 40,
                         .shared_intermediate_size = 40,
                         .num_dense_layers = 1};
  RandomModel model = MakeRandomModel(config, 8, DType::kBF16);
  std::vector<std::string> notes;
  REQUIRE(MakeCopies({.format = format, .available_bytes = 1 << 30, .progress = {}}, &model.weights,
                     &notes)
              .ok());
  return model;
}

}  // namespace latentd
