// A small writer of SVG 1.1: shapes and text in points, y downward. Text stays text, so that an
// editor or a typesetter can change its font.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace latentd {

constexpr double kAxisTitleSize = 10;  // points, in every picture

enum class Anchor { kStart, kMiddle, kEnd };

struct TextStyle {
  double size = 9;  // points
  Anchor anchor = Anchor::kMiddle;
  std::string_view fill = "#000000";
  double rotate = 0;  // degrees clockwise about the anchor
};

struct Point {
  double x = 0, y = 0;
};

// Not thread-safe. Colours are CSS colours ("#rrggbb"); coordinates are written with two decimals.
class SvgWriter {
 public:
  // A white picture of width × height points. Title and description are for readers of the file
  // and screen readers; they are not drawn. All text is plain: it is escaped here, what is not
  // UTF-8 becomes U+FFFD, control characters become spaces.
  SvgWriter(double width, double height, std::string_view title, std::string_view description);

  void Rect(double x, double y, double width, double height, std::string_view fill,
            std::string_view stroke = "none");
  void Line(Point from, Point to, std::string_view stroke, double stroke_width);
  void Polyline(const std::vector<Point>& points, std::string_view stroke, double stroke_width);
  void Circle(Point centre, double radius, std::string_view fill);
  // `at` is the anchor's end of the baseline.
  void Text(Point at, std::string_view text, const TextStyle& style);

  // The whole document. The writer is spent.
  std::string Finish();

 private:
  std::string out_;
};

// About how wide `characters` digits are in the writer's font: digits of Helvetica and its metric
// equals are 0.556 em wide.
constexpr double DigitsWidth(size_t characters, double size) {
  return 0.556 * size * static_cast<double>(characters);
}

}  // namespace latentd
