// A heat map with labelled cells, axes and a colour bar.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/plot/svg.h"

namespace latentd {

struct HeatMap {
  std::vector<uint32_t> columns, rows;  // labels, ascending; rows go up
  // [rows × columns], row-major. Colours follow the logarithm, so that equal ratios look equally
  // far apart. What is not finite and above 0 is a grey cell.
  std::vector<double> values;
  std::string column_title, row_title, value_title;
  std::string title, note;  // the note is drawn small under the picture
};

// The picture as an SVG document. Cells are written out where there is room, row and column labels
// thinned where there is not. REQUIRES: rows, columns not empty; as many values as cells.
std::string DrawHeatMap(const HeatMap& map);

}  // namespace latentd
