#include "server/plot/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/check.h"
#include "server/plot/colour_scale.h"
#include "server/plot/ticks.h"

namespace latentd {
namespace {

constexpr double kLabelSize = 9, kCellSize = 8.5, kNoteSize = 7;  // points
constexpr double kLeft = 48, kTop = 12, kBottom = 48, kBarGap = 16, kBarWidth = 12, kRight = 58;
constexpr double kOverlap = 0.4;
constexpr std::string_view kAxis = "#333333", kMissing = "#d9d9d9";

// The range of the values that have a colour.
struct Range {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  bool empty() const { return high == 0; }
  // Where a value lies between the ends, by logarithm.
  double Place(double value) const {
    return low == high ? 0.5 : std::log(value / low) / std::log(high / low);
  }
};

bool HasColour(double value) { return std::isfinite(value) && value > 0; }

Range RangeOf(const std::vector<double>& values) {
  Range range;
  for (const double value : values) {
    if (!HasColour(value)) continue;
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
  }
  return range;
}

struct Layout {
  explicit Layout(const HeatMap& map)
      : cell_width(std::clamp(300.0 / static_cast<double>(map.columns.size()), 5.0, 52.0)),
        cell_height(std::clamp(230.0 / static_cast<double>(map.rows.size()), 5.0, 36.0)),
        width(cell_width * static_cast<double>(map.columns.size())),
        height(cell_height * static_cast<double>(map.rows.size())) {}
  double cell_width, cell_height;
  double width, height;  // of all cells
  double bottom() const { return kTop + height; }
};

void DrawCells(const HeatMap& map, const Layout& layout, const Range& range, SvgWriter* svg) {
  size_t longest = 0;
  for (const double value : map.values) {
    if (HasColour(value)) longest = std::max(longest, FourDigits(value).size());
  }
  const bool written = DigitsWidth(longest, kCellSize) + 4 <= layout.cell_width &&
                       kCellSize + 3 <= layout.cell_height;
  for (size_t i = 0; i < map.values.size(); ++i) {
    const double value = map.values[i];
    const size_t row = i / map.columns.size(), column = i % map.columns.size();
    const double x = kLeft + layout.cell_width * static_cast<double>(column);
    const double y = layout.bottom() - layout.cell_height * static_cast<double>(row + 1);
    const bool coloured = HasColour(value);
    // A little under its right and upper neighbours, which come later: no seam shows between them.
    const double right = column + 1 < map.columns.size() ? kOverlap : 0;
    const double up = row + 1 < map.rows.size() ? kOverlap : 0;
    svg->Rect(x, y - up, layout.cell_width + right, layout.cell_height + up,
              coloured ? ToHex(ScaleColour(range.Place(value))) : kMissing);
    if (!written) continue;
    svg->Text(
        {x + layout.cell_width / 2, y + layout.cell_height / 2 + 0.36 * kCellSize},
        coloured ? FourDigits(value) : "–",
        {.size = kCellSize, .fill = coloured ? TextColourOver(range.Place(value)) : "#000000"});
  }
  svg->Rect(kLeft, kTop, layout.width, layout.height, "none", kAxis);
}

void DrawAxes(const HeatMap& map, const Layout& layout, SvgWriter* svg) {
  const size_t digits = fmt::format("{}", map.columns.back()).size();
  const size_t column_step = LabelStep(layout.cell_width, DigitsWidth(digits, kLabelSize));
  for (size_t i = 0; i < map.columns.size(); i += column_step) {
    const double x = kLeft + layout.cell_width * (static_cast<double>(i) + 0.5);
    svg->Line({x, layout.bottom()}, {x, layout.bottom() + 3}, kAxis, 0.6);
    svg->Text({x, layout.bottom() + 13}, fmt::format("{}", map.columns[i]), {.size = kLabelSize});
  }
  const size_t row_step = LabelStep(layout.cell_height, kLabelSize);
  for (size_t i = 0; i < map.rows.size(); i += row_step) {
    const double y = layout.bottom() - layout.cell_height * (static_cast<double>(i) + 0.5);
    svg->Line({kLeft - 3, y}, {kLeft, y}, kAxis, 0.6);
    svg->Text({kLeft - 6, y + 0.36 * kLabelSize}, fmt::format("{}", map.rows[i]),
              {.size = kLabelSize, .anchor = Anchor::kEnd});
  }
  svg->Text({kLeft + layout.width / 2, layout.bottom() + 28}, map.column_title,
            {.size = kAxisTitleSize});
  svg->Text({14, kTop + layout.height / 2}, map.row_title, {.size = kAxisTitleSize, .rotate = -90});
}

void DrawBar(const HeatMap& map, const Layout& layout, const Range& range, SvgWriter* svg) {
  const double x = kLeft + layout.width + kBarGap;
  const int slices = 64;
  for (int i = 0; i < slices; ++i) {
    // Slices overlap downward, so that no seam shows between them.
    const double top = layout.bottom() - layout.height * (i + 1) / slices;
    svg->Rect(x, top, kBarWidth, std::min(layout.height / slices + kOverlap, layout.bottom() - top),
              ToHex(ScaleColour((i + 0.5) / slices)));
  }
  svg->Rect(x, kTop, kBarWidth, layout.height, "none", kAxis);
  const auto most = static_cast<size_t>(std::max(3.0, layout.height / 36));
  size_t longest = 0;
  for (const Tick& tick : LogTicks(range.low, range.high, most)) {
    const double y = layout.bottom() - layout.height * range.Place(tick.value);
    svg->Line({x + kBarWidth, y}, {x + kBarWidth + 3, y}, kAxis, 0.6);
    svg->Text({x + kBarWidth + 6, y + 0.36 * kLabelSize}, tick.label,
              {.size = kLabelSize, .anchor = Anchor::kStart});
    longest = std::max(longest, tick.label.size());
  }
  svg->Text({x + kBarWidth + 20 + DigitsWidth(longest, kLabelSize), kTop + layout.height / 2},
            map.value_title, {.size = kAxisTitleSize, .rotate = -90});
}

}  // namespace

std::string DrawHeatMap(const HeatMap& map) {
  LATENTD_CHECK(!map.values.empty());
  LATENTD_CHECK(map.values.size() == map.rows.size() * map.columns.size());
  const Layout layout(map);
  const Range range = RangeOf(map.values);
  const double width = std::max(kLeft + layout.width + kBarGap + kBarWidth + kRight,
                                kLeft + DigitsWidth(map.note.size(), kNoteSize));
  SvgWriter svg(width, layout.bottom() + kBottom, map.title, map.note);
  DrawCells(map, layout, range, &svg);
  DrawAxes(map, layout, &svg);
  if (!range.empty()) DrawBar(map, layout, range, &svg);
  svg.Text({kLeft, layout.bottom() + 42}, map.note,
           {.size = kNoteSize, .anchor = Anchor::kStart, .fill = "#666666"});
  return svg.Finish();
}

}  // namespace latentd
