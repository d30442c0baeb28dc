// strict with copies of weights: a token's bits do not depend on portions, company, widths of
// others or threads.
#include <catch2/catch.hpp>

#include "tests/engine/model/copies_model.h"
#include "tests/engine/model/model_runner.h"

namespace latentd {
namespace {

TEST_CASE("copies of weights give the same bits in any portions, company and number of threads") {
  const WeightCopies format = GENERATE(WeightCopies::kInt8, WeightCopies::kInt4);
  const RandomModel model = ModelOfCopies(format);
  const std::vector<uint32_t> a = Tokens(90, 1), b = Tokens(33, 2);
  for (const CpuPath path :
       {CpuPath::kScalar, CpuPath::kAvx2, CpuPath::kAvx512, CpuPath::kAvx512Bf16}) {
    if (!Supported(path)) continue;
    const auto alone_a = RunWhole(model, a, {}, path), alone_b = RunWhole(model, b, {}, path);
    for (const int threads : {1, 2}) {
      INFO(Name(format) << ", " << Name(path) << ", " << threads << " threads");
      Runner runner(model, threads, path);
      auto s = runner.NewSequence(a), t = runner.NewSequence(b);
      runner.Step({{&s, 1}, {&t, 5}});
      runner.Step({{&s, 63}});
      runner.Step({{&t, 27}, {&s, 7}});
      runner.Step({{&s, 1}, {&t, 1}});
      runner.Step({{&s, 18}});
      CHECK(s.logits == alone_a);
      CHECK(t.logits == alone_b);
    }
  }
}

}  // namespace
}  // namespace latentd
