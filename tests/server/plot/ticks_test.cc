#include "server/plot/ticks.h"

#include <catch2/catch.hpp>

namespace latentd {
namespace {

std::vector<std::string> Labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> labels;
  for (const Tick& tick : ticks) labels.push_back(tick.label);
  return labels;
}
using Strings = std::vector<std::string>;

TEST_CASE("Linear ticks are round numbers inside the range") {
  CHECK(Labels(LinearTicks(0, 100, 5)) == Strings{"0", "20", "40", "60", "80", "100"});
  CHECK(Labels(LinearTicks(3.37, 3.65, 5)) == Strings{"3.4", "3.5", "3.6"});
  CHECK(Labels(LinearTicks(3.372, 3.449, 4)) == Strings{"3.38", "3.40", "3.42", "3.44"});
  CHECK(Labels(LinearTicks(-0.1, 0.1, 2)) == Strings{"-0.1", "0.0", "0.1"});
  CHECK(Labels(LinearTicks(10, 769, 6)) == Strings{"200", "400", "600"});
}

TEST_CASE("A range of one value has one tick") {
  CHECK(Labels(LinearTicks(29.137, 29.137, 5)) == Strings{"29.14"});
  CHECK(Labels(LogTicks(29.137, 29.137, 5)) == Strings{"29.14"});
}

TEST_CASE("Never more than twice as many ticks as asked for") {
  for (double high = 1.001; high < 5000; high *= 1.37) {
    for (size_t count = 1; count < 9; ++count) {
      INFO("1 to " << high << ", " << count);
      const auto ticks = LinearTicks(1, high, count);
      CHECK(ticks.size() <= 2 * count);
      for (const Tick& tick : ticks) {
        CHECK(tick.value >= 1 - 1e-9 * high);
        CHECK(tick.value <= high * (1 + 1e-9));
      }
    }
  }
}

TEST_CASE("Logarithmic ticks thin out as the range grows") {
  CHECK(Labels(LogTicks(20, 60, 4)) == Strings{"20", "30", "40", "50", "60"});
  CHECK(Labels(LogTicks(15, 450, 4)) == Strings{"20", "50", "100", "200"});
  CHECK(Labels(LogTicks(5, 20'000, 4)) == Strings{"10", "100", "1000", "10000"});
}

TEST_CASE("Four digits at any size") {
  CHECK(FourDigits(0) == "0.00");
  CHECK(FourDigits(29.137) == "29.14");
  CHECK(FourDigits(99.996) == "100.0");
  CHECK(FourDigits(999.96) == "1000");
  CHECK(FourDigits(99'999) == "99999");
  CHECK(FourDigits(123'456) == "1.2e+05");
}

TEST_CASE("Labels are thinned where they would touch") {
  CHECK(LabelStep(50, 16) == 1);
  CHECK(LabelStep(19, 16) == 1);
  CHECK(LabelStep(10, 16) == 2);
  CHECK(LabelStep(5, 16) == 4);
}

}  // namespace
}  // namespace latentd
