#include "server/plot/line_plot.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/server/plot/picture.h"

namespace latentd {
namespace {

LinePlot Plot(std::vector<Point> points) {
  LinePlot plot;
  plot.points = std::move(points);
  plot.x_title = "rank";
  plot.y_title = "loss";
  return plot;
}

size_t Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}
constexpr const char* kLineColour = "stroke=\"#20609f\"";

TEST_CASE("One line with a marker at every point") {
  const std::string svg = DrawLinePlot(Plot({{8, 3.6}, {16, 3.5}, {64, 3.4}}));
  CHECK(Count(svg, kLineColour) == 1);
  CHECK(Count(svg, "<circle") == 3);
  CHECK_THAT(svg, Catch::Contains(">rank</text>") && Catch::Contains(">3.50</text>"));
}

TEST_CASE("Points stand over their ranks, at the height of their loss") {
  const std::string svg = DrawLinePlot(Plot({{8, 3.6}, {16, 3.5}, {64, 3.2}}));
  const std::vector<Point> points = CirclesAt(svg);
  REQUIRE(points.size() == 3);
  const std::vector<std::string> ranks = {"8", "16", "64"}, losses = {"3.6", "3.5", "3.2"};
  for (size_t i = 0; i < 3; ++i) {
    CHECK(TextAt(svg, ranks[i]).x == Approx(points[i].x).margin(0.01));
    // The middle of a digit is 0.36 of its size above the baseline.
    CHECK(TextAt(svg, losses[i]).y == Approx(points[i].y + 0.36 * 9).margin(0.02));
  }
  // Linear in both, losses upward.
  CHECK(points[2].x - points[1].x == Approx(6 * (points[1].x - points[0].x)).margin(0.1));
  CHECK(points[2].y - points[1].y == Approx(3 * (points[1].y - points[0].y)).margin(0.1));
  CHECK(points[1].y > points[0].y);
}

TEST_CASE("Points are marked on the axis where their labels have room") {
  const std::string svg = DrawLinePlot(Plot({{8, 3.6}, {16, 3.5}, {64, 3.4}}));
  CHECK_THAT(svg, Catch::Contains(">8</text>") && Catch::Contains(">16</text>") &&
                      Catch::Contains(">64</text>"));
  const std::string close = DrawLinePlot(Plot({{8, 3.6}, {9, 3.5}, {640, 3.4}}));
  CHECK_THAT(close, !Catch::Contains(">8</text>") && Catch::Contains(">200</text>"));
}

TEST_CASE("Many points are a line without markers") {
  std::vector<Point> points;
  for (int i = 0; i < 100; ++i) points.push_back({static_cast<double>(i), std::sqrt(i)});
  CHECK(Count(DrawLinePlot(Plot(points)), "<circle") == 0);
}

TEST_CASE("A gap where there is no number; a point alone keeps its marker") {
  const double none = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = DrawLinePlot(Plot({{1, 3}, {2, 4}, {3, none}, {4, 5}}));
  CHECK(Count(svg, kLineColour) == 1);
  CHECK(Count(svg, "<circle") == 3);
  CHECK(Count(svg, "nan") == 0);
  CHECK(Count(DrawLinePlot(Plot({{1, none}})), "nan") == 0);
}

TEST_CASE("One point, or equal values, can be drawn") {
  CHECK(Count(DrawLinePlot(Plot({{64, 3.4}})), "<circle") == 1);
  CHECK(Count(DrawLinePlot(Plot({{8, 0}, {64, 0}})), "nan") == 0);
}

TEST_CASE("The right scale shows the same heights in other units") {
  LinePlot plot = Plot({{8, 0}, {64, 2}});
  plot.right = [](double y) { return std::exp(y); };
  plot.right_title = "perplexity";
  const std::string svg = DrawLinePlot(plot);
  CHECK_THAT(svg, Catch::Contains(">1.0</text>") && Catch::Contains(">2.72</text>") &&
                      Catch::Contains(">perplexity</text>"));
}

}  // namespace
}  // namespace latentd
