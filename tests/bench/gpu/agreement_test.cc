#include "bench/gpu/peers/agreement.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

namespace latentd::bench {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TEST_CASE("the worst output is named with its row and lane") {
  const std::vector<float> got = {1, 2, 3, 4, 5, 7};
  const std::vector<double> expected = {1, 2, 3.5, 4, 5, 6};
  const Worst worst = WorstOf(got, expected, 3);
  CHECK(worst.row == 1);
  CHECK(worst.lane == 2);
  CHECK(worst.got == 7);
  CHECK(worst.expected == 6);
  CHECK(worst.difference == 1);
  CHECK(WorstOf(std::vector<float>{1, 2}, std::vector<double>{1, 2}, 2).difference == 0);
}

TEST_CASE("what is not a number lies farthest of all") {
  const std::vector<double> expected = {1, 2, 3, 4};
  const Worst worst = WorstOf(std::vector<float>{100, 2, kNan, 4}, expected, 2);
  CHECK(std::isinf(worst.difference));
  CHECK(worst.row == 1);
  CHECK(worst.lane == 0);
  const std::vector<float> whole = {1, 2, 3, 4};
  CHECK(std::isinf(FarthestRow(std::vector<float>{1, 2, kNan, 4}, whole, 2)));
  CHECK(std::isinf(FarthestRow(whole, std::vector<float>{1, kNan, 3, 4}, 2)));
  CHECK(std::isinf(FarthestRow(std::vector<float>{0, 0}, std::vector<float>{0, 0}, 2)));
}

TEST_CASE("rows are apart by their own norm") {
  // The second row: (0, 1) from (3, 4), which has the norm 5. The first has nearly the same gap.
  const std::vector<float> b = {30, 40, 3, 4};
  CHECK(FarthestRow(std::vector<float>{30, 41, 3, 5}, b, 2) == Approx(0.2));
  CHECK(FarthestRow(std::vector<float>{30, 41, 3, 4}, b, 2) == Approx(0.02));
  CHECK(FarthestRow(b, b, 2) == 0);
}

}  // namespace
}  // namespace latentd::bench
