#include "bench/gpu/quantile.h"

#include <catch2/catch.hpp>

namespace latentd::bench {
namespace {

TEST_CASE("a quantile is one of the values") {
  CHECK(Quantile({7}, 0.5) == 7);
  CHECK(Quantile({3, 1, 2}, 0.5) == 2);
  CHECK(Quantile({4, 1, 3, 2}, 0.5) == 2);  // two of four do not exceed it
  const std::vector<double> ten = {10, 9, 8, 7, 6, 5, 4, 3, 2, 1};
  CHECK(Quantile(ten, 0.1) == 1);
  CHECK(Quantile(ten, 0.11) == 2);
  CHECK(Quantile(ten, 0.9) == 9);
  CHECK(Quantile(ten, 1) == 10);
}

}  // namespace
}  // namespace latentd::bench
