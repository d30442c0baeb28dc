#include "server/plot/colour_scale.h"

#include <catch2/catch.hpp>
#include <cmath>

namespace latentd {
namespace {

struct Lab {
  double lightness, a, b;
};

// Linear sRGB → Oklab, the direction that the scale does not use.
Lab ToOklab(const Rgb& c) {
  const double l = std::cbrt(0.4122214708 * c.red + 0.5363325363 * c.green + 0.0514459929 * c.blue);
  const double m = std::cbrt(0.2119034982 * c.red + 0.6806995451 * c.green + 0.1073969566 * c.blue);
  const double s = std::cbrt(0.0883024619 * c.red + 0.2817188376 * c.green + 0.6299787005 * c.blue);
  return {0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
          1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
          0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s};
}

TEST_CASE("Every colour can be shown") {
  for (int i = 0; i <= 1000; ++i) {
    const Rgb colour = ScaleColour(i / 1000.0);
    for (const double part : {colour.red, colour.green, colour.blue}) {
      CHECK(part >= 0);
      CHECK(part <= 1);
    }
  }
}

// A chord of 1/100 of the scale is shorter than its arc by less than (Δh)²/24 = 5e-5 of itself; the
// two matrices are each other's inverse to about 1e-7.
TEST_CASE("Equal steps look equal, and lightness rises") {
  const double expected = std::hypot(0.62, 0.10 * 195 * M_PI / 180) / 100;
  Lab last = ToOklab(ScaleColour(0));
  for (int i = 1; i <= 100; ++i) {
    const Lab next = ToOklab(ScaleColour(i / 100.0));
    const double step =
        std::hypot(next.lightness - last.lightness, next.a - last.a, next.b - last.b);
    INFO("step " << i);
    CHECK(step == Approx(expected).epsilon(2e-4));
    CHECK(next.lightness > last.lightness);
    last = next;
  }
}

TEST_CASE("Colours in hex") {
  CHECK(ToHex({0, 0, 0}) == "#000000");
  CHECK(ToHex({1, 1, 1}) == "#ffffff");
  CHECK(ToHex({1, 0.2158605, 0}) == "#ff8000");  // ((128/255 + 0.055) / 1.055)^2.4
}

TEST_CASE("Places outside the scale are its ends; text is legible on both") {
  CHECK(ToHex(ScaleColour(-1)) == ToHex(ScaleColour(0)));
  CHECK(ToHex(ScaleColour(2)) == ToHex(ScaleColour(1)));
  CHECK(TextColourOver(0) == "#ffffff");
  CHECK(TextColourOver(1) == "#000000");
}

}  // namespace
}  // namespace latentd
