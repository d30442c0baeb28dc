// Plans as recorded launches have them (PadPlan), emulated or on a device.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/mla_decode_case.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

// As a recorded launch has it: room for more tokens than there are, and items without rows behind
// those of every thread block, or for it alone.
TEST_CASE("a padded plan keeps every row's bits, and rows beyond are the first token's",
          "[small]") {
  std::mt19937 rng(15);
  const std::pair<int, int> kCases[] = {{12, 64}, {12, 0}, {70, 0}};  // columns of MlaDecodeArgs
  for (const auto& [heads, columns] : kCases) {
    const Shape shape = {heads, 2, 64, 16, KeyNorm::kBlockwise};
    const Step step(rng, shape, {600, 65, 130}, {1, 1, 1});
    const std::vector<float> expected =
        step.Run(PlanDecodeWith(step.sequences, heads, 132, kUnitTokens), columns);
    Step roomy = step;
    roomy.q_rows = 5 * heads;
    roomy.q.resize(static_cast<size_t>(roomy.q_rows * shape.QueryLd()), bf16{0xffff});
    const auto token_floats = static_cast<size_t>(heads * shape.row_latent);
    for (const int64_t span : {kUnitTokens, kGroupTokens}) {
      for (const int processors : {1, 3, 20}) {
        const int most = columns == 0 ? std::min(processors, kClusterCtas) : 1;
        for (int cluster = 1; cluster <= most; ++cluster) {
          DecodePlan plan = PlanDecodeWith(step.sequences, heads, processors, span, cluster);
          PadPlan(3, 5, heads, processors, &plan);
          const std::vector<float> out = roomy.Run(plan, columns);
          const std::string what = shape.Describe() + " on " + std::to_string(processors) +
                                   " in clusters of " + std::to_string(cluster) + ", " +
                                   std::to_string(columns) + " columns";
          RequireSameBits(std::span(out).first(3 * token_floats), expected, what);
          for (const size_t token : {3, 4}) {
            RequireSameBits(std::span(out).subspan(token * token_floats, token_floats),
                            std::span(expected).first(token_floats), what + ", padding");
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
