#include "server/cli/score_grid.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "tests/server/plot/picture.h"

namespace latentd {
namespace {

// Perplexities 2, 4, 8 / 16, 32, 64.
ScoreGrid Grid() {
  ScoreGrid grid;
  grid.model = "small";
  grid.text = "book.txt";
  grid.q = {16, 96};
  grid.kv = {8, 24, 64};
  grid.scored = 10;
  for (const double perplexity : {2.0, 4.0, 8.0, 16.0, 32.0, 64.0}) {
    grid.logprobs.push_back(-10 * std::log(perplexity));
  }
  grid.window = 31;
  grid.stride = 4;
  grid.windows = "tokens 10 scored of 10, window 31, stride 4, windows 1";
  return grid;
}

TEST_CASE("Loss is per scored token, perplexity its exponential") {
  CHECK(Grid().Loss(1, 0) == Approx(std::log(16.0)));
  CHECK(Grid().Perplexity(0, 1) == Approx(4.0));
}

TEST_CASE("The table has a row for each q and says what was scored") {
  CHECK(GridTable(Grid()) ==
        "perplexity of book.txt, rows w_q, columns w_kv\n"
        "                8       24       64\n"
        "      16   2.0000   4.0000   8.0000\n"
        "      96  16.0000  32.0000  64.0000\n"
        "tokens 10 scored of 10, window 31, stride 4, windows 1\n");
}

TEST_CASE("CSV has a line for each pair, in numbers that read back exactly") {
  const std::string csv = GridCsv(Grid());
  CHECK_THAT(csv, Catch::StartsWith("q,kv,nats_per_token,perplexity,log_likelihood,tokens_scored,"
                                    "window,stride\n16,8,"));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 7);
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const std::string pair = std::to_string(Grid().q[i]) + "," + std::to_string(Grid().kv[j]);
      const size_t line = csv.find("\n" + pair + ",");
      REQUIRE(line != std::string::npos);
      size_t used = 0;
      CHECK(std::stod(csv.substr(line + pair.size() + 2), &used) == Grid().Loss(i, j));
      CHECK(std::stod(csv.substr(line + pair.size() + 3 + used)) == Grid().Perplexity(i, j));
      CHECK_THAT(csv.substr(line), Catch::Contains(",10,31,4\n"));
    }
  }
}

TEST_CASE("A grid is a heat map of perplexity") {
  const std::string svg = GridSvg(Grid());
  CHECK_THAT(svg, Catch::Contains(">perplexity</text>") && Catch::Contains(">16.00</text>") &&
                      Catch::Contains("small on book.txt: 10 tokens scored, window 31, stride 4"));
  CHECK(svg.find("nats") == std::string::npos);
  // Each value over its w_kv and beside its w_q.
  const std::vector<std::string> cells = {"2.00", "4.00", "8.00", "16.00", "32.00", "64.00"};
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const Point cell = TextAt(svg, cells[i * 3 + j]);
      CHECK(cell.x == TextAt(svg, std::to_string(Grid().kv[j])).x);
      CHECK(std::abs(cell.y - TextAt(svg, std::to_string(Grid().q[i])).y) < 1);
    }
  }
  // The title along the bottom is that of the columns.
  CHECK(TextAt(svg, "KV latent rank").y > TextAt(svg, "2.00").y);
  CHECK(TextAt(svg, "query latent rank").x < TextAt(svg, "2.00").x);
}

TEST_CASE("One rank on an axis draws loss over the other") {
  ScoreGrid grid = Grid();
  grid.q = {96};
  grid.kv = {8, 64};
  grid.logprobs = {grid.logprobs[2], grid.logprobs[3]};  // perplexities 8 and 16
  CHECK_THAT(GridSvg(grid), Catch::Contains(">loss (nats per token)</text>") &&
                                Catch::Contains(">KV latent rank (query latent rank 96)</text>") &&
                                Catch::Contains("<circle"));
  const std::vector<Point> points = CirclesAt(GridSvg(grid));
  REQUIRE(points.size() == 2);
  CHECK(points[0].x == TextAt(GridSvg(grid), "8").x);
  CHECK(points[1].x == TextAt(GridSvg(grid), "64").x);
  CHECK(points[1].y < points[0].y);
  std::swap(grid.q, grid.kv);
  grid.q = {8, 64};
  CHECK_THAT(GridSvg(grid), Catch::Contains(">query latent rank (KV latent rank 96)</text>"));
}

TEST_CASE("A model without a query rank is drawn without one") {
  ScoreGrid grid = Grid();
  grid.q = {0};
  grid.logprobs = {-1, -2, -3};
  CHECK_THAT(GridSvg(grid), Catch::Contains(">KV latent rank</text>"));
  CHECK_THAT(GridTable(grid), Catch::Contains("\n       -  "));
  CHECK_THAT(GridCsv(grid), Catch::Contains("\n,8,"));
}

TEST_CASE("A file name cannot break the picture") {
  ScoreGrid grid = Grid();
  grid.text = "a<b>&\x01\xff.txt";
  CHECK_THAT(GridSvg(grid), Catch::Contains("a&lt;b&gt;&amp; \uFFFD.txt"));
}

}  // namespace
}  // namespace latentd
