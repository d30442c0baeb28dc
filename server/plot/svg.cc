#include "server/plot/svg.h"

#include <fmt/format.h>

#include <cmath>

#include "engine/text/utf8.h"

namespace latentd {
namespace {

constexpr std::string_view kFonts =
    "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif";

// Two decimals at most, without trailing zeros; independent of the locale.
std::string Number(double value) {
  const double rounded = std::round(value * 100) / 100;
  return fmt::format("{}", rounded == 0 ? 0.0 : rounded);
}

std::string_view Name(Anchor anchor) {
  switch (anchor) {
    case Anchor::kStart:
      return "start";
    case Anchor::kMiddle:
      return "middle";
    case Anchor::kEnd:
      break;
  }
  return "end";
}

std::string Escape(std::string_view text) {
  std::string xml;
  for (const char c : ToValidUtf8(text)) {
    switch (c) {
      case '&':
        xml += "&amp;";
        break;
      case '<':
        xml += "&lt;";
        break;
      case '>':
        xml += "&gt;";
        break;
      default:
        xml += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return xml;
}

}  // namespace

SvgWriter::SvgWriter(double width, double height, std::string_view title,
                     std::string_view description) {
  out_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}pt\" height=\"{1}pt\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"{2}\">\n<title>{3}</title>\n<desc>{4}</desc>\n",
      Number(width), Number(height), kFonts, Escape(title), Escape(description));
  Rect(0, 0, width, height, "#ffffff");
}

void SvgWriter::Rect(double x, double y, double width, double height, std::string_view fill,
                     std::string_view stroke) {
  out_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"", Number(x),
                      Number(y), Number(width), Number(height), fill);
  if (stroke != "none") out_ += fmt::format(" stroke=\"{}\" stroke-width=\"0.6\"", stroke);
  out_ += "/>\n";
}

void SvgWriter::Line(Point from, Point to, std::string_view stroke, double stroke_width) {
  Polyline({from, to}, stroke, stroke_width);
}

void SvgWriter::Polyline(const std::vector<Point>& points, std::string_view stroke,
                         double stroke_width) {
  out_ += "<polyline points=\"";
  for (size_t i = 0; i < points.size(); ++i) {
    out_ += fmt::format("{}{},{}", i == 0 ? "" : " ", Number(points[i].x), Number(points[i].y));
  }
  out_ += fmt::format(
      "\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"/>\n", stroke,
      Number(stroke_width));
}

void SvgWriter::Circle(Point centre, double radius, std::string_view fill) {
  out_ += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>\n", Number(centre.x),
                      Number(centre.y), Number(radius), fill);
}

void SvgWriter::Text(Point at, std::string_view text, const TextStyle& style) {
  out_ +=
      fmt::format("<text x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{}\" fill=\"{}\"",
                  Number(at.x), Number(at.y), Number(style.size), Name(style.anchor), style.fill);
  if (style.rotate != 0) {
    out_ += fmt::format(" transform=\"rotate({} {} {})\"", Number(style.rotate), Number(at.x),
                        Number(at.y));
  }
  out_ += fmt::format(">{}</text>\n", Escape(text));
}

std::string SvgWriter::Finish() {
  out_ += "</svg>\n";
  return std::move(out_);
}

}  // namespace latentd
