#include "server/plot/heat_map.h"

#include <catch2/catch.hpp>
#include <limits>

#include "server/plot/colour_scale.h"
#include "tests/server/plot/picture.h"

namespace latentd {
namespace {

HeatMap Map(size_t rows, size_t columns) {
  HeatMap map;
  for (size_t i = 0; i < rows; ++i) map.rows.push_back(static_cast<uint32_t>(1000 + 16 * i));
  for (size_t i = 0; i < columns; ++i) map.columns.push_back(static_cast<uint32_t>(2000 + 16 * i));
  for (size_t i = 0; i < rows * columns; ++i) map.values.push_back(20 + static_cast<double>(i));
  map.column_title = "columns";
  map.row_title = "rows";
  map.value_title = "values";
  return map;
}

size_t Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST_CASE("Rows go up, columns to the right, next to their labels") {
  const std::string svg = DrawHeatMap(Map(2, 3));  // 20 21 22 / 23 24 25
  const Point first = TextAt(svg, "20.00"), right = TextAt(svg, "22.00");
  const Point up = TextAt(svg, "23.00");
  CHECK(right.x > first.x);
  CHECK(right.y == first.y);
  CHECK(up.x == first.x);
  CHECK(up.y < first.y);
  CHECK(TextAt(svg, "2032").x == right.x);
  CHECK(std::abs(TextAt(svg, "1016").y - up.y) < 2);
}

TEST_CASE(
    "A cell has the colour of its value: ends of the range at ends of the scale, by logarithm") {
  HeatMap map = Map(1, 3);
  map.values = {10, 40, 20};
  const std::string svg = DrawHeatMap(map);
  const std::vector<double> places = {0, 1, 0.5};
  const std::vector<std::string> labels = {"2000", "2016", "2032"};
  for (size_t i = 0; i < 3; ++i) {
    const double left = RectAt(svg, ToHex(ScaleColour(places[i]))).x;
    CHECK(left < TextAt(svg, labels[i]).x);
    if (i > 0) CHECK(left > TextAt(svg, labels[i - 1]).x);
  }
}

TEST_CASE(
    "The bar has the colours of the scale, the highest on top, and its ticks where they lie") {
  HeatMap map = Map(1, 3);
  map.values = {10, 20, 40};
  const std::string svg = DrawHeatMap(map);
  const double low = RectAt(svg, ToHex(ScaleColour(0.5 / 64))).y;
  CHECK(RectAt(svg, ToHex(ScaleColour(63.5 / 64))).y < low);
  const Point ten = TextAt(svg, "10"), twenty = TextAt(svg, "20");
  CHECK(ten.y > low);
  // Equal ratios are equal heights; the bar is 36 points high, half of it for a factor of two.
  CHECK(ten.y - twenty.y == Approx(18).margin(0.01));
}

TEST_CASE("Values are written only where they fit, and labels thinned") {
  CHECK(Count(DrawHeatMap(Map(5, 5)), ".00</text>") == 25);
  const std::string dense = DrawHeatMap(Map(45, 31));
  CHECK(Count(dense, ".00</text>") == 0);
  CHECK(Count(dense, "<rect") >= 45 * 31);
  CHECK(Count(dense, ">20") < 31);  // column labels
  CHECK(Count(dense, ">2000<") == 1);
}

TEST_CASE("A value that is no number is a grey cell and does not stretch the scale") {
  HeatMap map = Map(1, 3);
  map.values = {10, std::numeric_limits<double>::quiet_NaN(), 40};
  const std::string svg = DrawHeatMap(map);
  CHECK(Count(svg, "#d9d9d9") == 1);
  CHECK(Count(svg, ">–</text>") == 1);
  CHECK(Count(svg, ToHex(ScaleColour(1)) + "\"/>") >= 1);
  CHECK(Count(svg, "nan") + Count(svg, "inf") == 0);
}

TEST_CASE("Nothing but missing values, and nothing but equal ones, can be drawn") {
  HeatMap map = Map(1, 2);
  map.values = {std::numeric_limits<double>::infinity(), 0};
  CHECK(Count(DrawHeatMap(map), "#d9d9d9") == 2);
  map.values = {30, 30};
  const std::string svg = DrawHeatMap(map);
  CHECK(Count(svg, "nan") == 0);
  CHECK(Count(svg, ">30</text>") == 1);
}

}  // namespace
}  // namespace latentd
