// Mixtures of experts on the CUDA back end, its kernels emulated.
#include <catch2/catch.hpp>

#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/model/compare_logits.h"
#include "tests/engine/model/expert_models.h"
#include "tests/engine/model/naive_model.h"

namespace latentd {

// Of few tokens, as in transformer_test.cc.
TEST_CASE("mixtures of experts on the device equal the plain model in double precision") {
  uint32_t seed = 50;
  for (const ModelConfig& config : ExpertGeometries()) {
    CAPTURE(seed);
    const RandomModel model = MakeRandomModel(config, seed++);
    const std::vector<uint32_t> ids = Tokens(30, seed);
    const NaiveResult truth = NaiveForward(config, model.weights, ids, CacheFormat::kBf16);
    const Difference difference = Compare(truth, RunWholeOnDevice(model, ids), config.num_layers);
    INFO(difference.where);
    CHECK(difference.worst <= 1);
  }
}

TEST_CASE("chunks and neighbours change no bit of a mixture of experts on the device") {
  for (const ModelConfig& config : ExpertGeometries()) {
    const RandomModel model = MakeRandomModel(config, 60);
    const std::vector<uint32_t> ids = Tokens(20, 61);
    DeviceRunner runner(config, model.weights);
    auto s = runner.NewSequence(ids), neighbour = runner.NewSequence(Tokens(40, 62));
    runner.Step({{&neighbour, 35}, {&s, 1}});
    runner.Step({{&s, 12}, {&neighbour, 5}});
    runner.Step({{&s, 7}});
    RequireSameBits(s.logits, RunWholeOnDevice(model, ids));
  }
}

}  // namespace latentd
