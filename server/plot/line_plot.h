// A line over one variable, with a second scale on the right.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "server/plot/svg.h"

namespace latentd {

struct LinePlot {
  // Ascending x, marked on its axis where there is room. A y that is not finite leaves a gap.
  std::vector<Point> points;
  std::string x_title, y_title;
  // What the right edge shows at the height of each tick of y, e.g. exp(y); at least 0. Null: no
  // right scale.
  std::function<double(double)> right;
  std::string right_title;
  std::string title, note;
};

// The picture as an SVG document. REQUIRES: points not empty.
std::string DrawLinePlot(const LinePlot& plot);

}  // namespace latentd
