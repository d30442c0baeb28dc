#include "server/plot/svg.h"

#include <catch2/catch.hpp>
#include <clocale>

namespace latentd {
namespace {

std::string Drawn(std::string_view text) {
  SvgWriter svg(10, 10, "", "");
  svg.Text({1, 2}, text, {});
  const std::string out = svg.Finish();
  const size_t begin = out.find('>', out.find("<text")) + 1;
  return out.substr(begin, out.find("</text>") - begin);
}

TEST_CASE("Text is escaped, controls are spaces, what is not UTF-8 is replaced") {
  CHECK(Drawn("a<b>&c") == "a&lt;b&gt;&amp;c");
  CHECK(Drawn("a\n\x7f"
              "b") == "a  b");
  CHECK(Drawn("\xff") == "\uFFFD");
}

TEST_CASE("Shapes in points with two decimals") {
  SvgWriter svg(100, 50.255, "A & B", "note");
  svg.Line({1, 2.005}, {3.14159, -0.001}, "#123456", 0.6);
  svg.Text({5, 6}, "up", {.size = 8, .anchor = Anchor::kEnd, .rotate = -90});
  const std::string out = svg.Finish();
  CHECK_THAT(out, Catch::StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100pt\" "
                                    "height=\"50.26pt\" viewBox=\"0 0 100 50.26\""));
  CHECK_THAT(out, Catch::Contains("<title>A &amp; B</title>\n<desc>note</desc>"));
  CHECK_THAT(out, Catch::Contains("points=\"1,2.01 3.14,0\"") || Catch::Contains("1,2 3.14,0"));
  CHECK_THAT(out, Catch::Contains("text-anchor=\"end\"") && Catch::Contains("rotate(-90 5 6)"));
  CHECK_THAT(out, Catch::EndsWith("</svg>\n"));
}

}  // namespace
}  // namespace latentd
