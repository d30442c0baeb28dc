// A perceptually uniform sequential colour scale.
#pragma once

#include <array>
#include <string>

namespace latentd {

// The colour at t in [0, 1], from deep violet over teal to light yellow.
//
// The scale is a straight line in (L, h) of OKLCh at constant chroma C: L = 0.30 + 0.62 t,
// h = 300° − 195° t, C = 0.10. A step dt then moves ΔE² = dL² + (C dh)² = (0.62² + 0.340²) dt² in
// Oklab wherever it is taken: equal steps of the value look equal. Lightness rises all the way, so
// that the order survives grey print and colour blindness. Oklab: B. Ottosson, "A perceptual color
// space for image processing", 2020.
struct Rgb {
  double red = 0, green = 0, blue = 0;  // linear light, within [0, 1]
};
Rgb ScaleColour(double t);

// "#rrggbb", sRGB.
std::string ToHex(const Rgb& colour);

// Text over ScaleColour(t): white on dark, black on light.
std::string TextColourOver(double t);

}  // namespace latentd
