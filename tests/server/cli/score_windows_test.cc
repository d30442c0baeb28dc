#include "server/cli/score_windows.h"

#include <catch2/catch.hpp>

#include "tests/server/byte_tokenizer.h"

namespace latentd {
namespace {

using Windows = std::vector<ScoreWindow>;

TEST_CASE("Windows without overlap follow each other") {
  CHECK(PlanWindows(10, 4, 4) == Windows{{0, 0, 4}, {4, 4, 8}, {8, 8, 10}});
  CHECK(PlanWindows(8, 4, 4) == Windows{{0, 0, 4}, {4, 4, 8}});
  CHECK(PlanWindows(3, 4, 4) == Windows{{0, 0, 3}});
  CHECK(PlanWindows(0, 4, 4).empty());
}

TEST_CASE("With a stride, windows begin as early as they can") {
  CHECK(PlanWindows(9, 4, 2) == Windows{{0, 0, 4}, {2, 4, 6}, {4, 6, 8}, {5, 8, 9}});
  CHECK(PlanWindows(6, 4, 1) == Windows{{0, 0, 4}, {1, 4, 5}, {2, 5, 6}});
}

TEST_CASE("Every token is new exactly once, in windows that fit") {
  for (size_t tokens = 0; tokens < 40; ++tokens) {
    for (size_t window = 1; window < 12; ++window) {
      for (size_t stride = 1; stride <= window; ++stride) {
        size_t next = 0;
        for (const ScoreWindow& w : PlanWindows(tokens, window, stride)) {
          REQUIRE(w.first_new == next);
          REQUIRE(w.begin <= w.first_new);
          REQUIRE(w.end > w.first_new);
          REQUIRE(w.end - w.begin <= window);
          next = w.end;
        }
        REQUIRE(next == tokens);
      }
    }
  }
}

TEST_CASE("What opens a window is what stands before the text, never what is appended") {
  using testing::kBos;
  using testing::MakeByteTokenizer;
  CHECK(OpeningToken(*MakeByteTokenizer(true, false)) == kBos);
  CHECK(OpeningToken(*MakeByteTokenizer(true, true)) == kBos);
  CHECK(OpeningToken(*MakeByteTokenizer(false, true)) == std::nullopt);
  CHECK(OpeningToken(*MakeByteTokenizer(false, false)) == std::nullopt);
}

}  // namespace
}  // namespace latentd
