// int8 and int4 copies of weights (docs/weights.md) on the CUDA back end, its kernels emulated.
#include <catch2/catch.hpp>

#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/model/compare_logits.h"
#include "tests/engine/model/copies_model.h"
#include "tests/engine/model/model_runner.h"

namespace latentd {

// Products of copies have the CPU's bits, so what stands between the two is the order of the norms'
// sums, and the roundings of activations to int8 that it turns: each moves one term of a product by
// a 127th of its group's largest, 2^-7 / √K of the sum with K >= 40 terms of one size, which is
// less than the 2^-9 that Compare allows for each layer (no score is rounded otherwise than on the
// CPU).
TEST_CASE("copies of weights on the device give the CPU's logits, and the same bits in portions") {
  const WeightCopies format = GENERATE(WeightCopies::kInt8, WeightCopies::kInt4);
  const RandomModel model = ModelOfCopies(format);
  const std::vector<uint32_t> ids = Tokens(20, 1);
  const auto whole = RunWholeOnDevice(model, ids);
  NaiveResult cpu;
  for (const std::vector<float>& row : RunWhole(model, ids, {}, CpuPath::kScalar)) {
    cpu.logits.emplace_back(row.begin(), row.end());
  }
  const Difference difference = Compare(cpu, whole, model.config.num_layers);
  INFO(Name(format) << ": " << difference.where);
  CHECK(difference.worst <= 1);

  DeviceRunner runner(model.config, model.weights);
  auto s = runner.NewSequence(ids), t = runner.NewSequence(Tokens(33, 2));
  runner.Step({{&s, 1}, {&t, 5}});
  runner.Step({{&t, 27}, {&s, 12}});
  runner.Step({{&s, 7}});
  RequireSameBits(s.logits, whole);
}

}  // namespace latentd
