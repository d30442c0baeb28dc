#include "server/plot/colour_scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace latentd {
namespace {

double Cube(double x) { return x * x * x; }

// Oklab → linear sRGB, by the matrices of the definition.
Rgb FromOklab(double lightness, double a, double b) {
  const double l = Cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = Cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = Cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  return {4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
          -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
          -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
}

int Byte(double linear) {
  const double encoded =
      linear <= 0.0031308 ? 12.92 * linear : 1.055 * std::pow(linear, 1 / 2.4) - 0.055;
  return static_cast<int>(std::lround(255 * std::clamp(encoded, 0.0, 1.0)));
}

}  // namespace

Rgb ScaleColour(double t) {
  const double x = std::clamp(t, 0.0, 1.0);
  const double hue = (300 - 195 * x) * std::numbers::pi / 180;
  constexpr double kChroma = 0.10;
  return FromOklab(0.30 + 0.62 * x, kChroma * std::cos(hue), kChroma * std::sin(hue));
}

std::string ToHex(const Rgb& colour) {
  return fmt::format("#{:02x}{:02x}{:02x}", Byte(colour.red), Byte(colour.green),
                     Byte(colour.blue));
}

// At L = 0.65 black and white stand out about alike.
std::string TextColourOver(double t) { return 0.30 + 0.62 * t < 0.65 ? "#ffffff" : "#000000"; }

}  // namespace latentd
