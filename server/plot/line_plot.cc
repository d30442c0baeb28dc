#include "server/plot/line_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/check.h"
#include "server/plot/ticks.h"

namespace latentd {
namespace {

constexpr double kLabelSize = 9, kNoteSize = 7;  // points
constexpr double kLeft = 54, kTop = 12, kWidth = 300, kHeight = 190, kRight = 56, kBottom = 48;
constexpr double kEnd = kLeft + kWidth, kBase = kTop + kHeight;
constexpr std::string_view kAxis = "#333333", kGrid = "#e3e3e3", kLine = "#20609f";
constexpr size_t kMostMarkers = 40;

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void Include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // Air on both sides; something to divide by where all values are equal.
  void Widen() {
    if (!(low <= high)) low = 0, high = 1;
    const double air = high > low ? 0.05 * (high - low) : std::max(1e-3, 0.05 * std::fabs(high));
    low -= air;
    high += air;
  }
  double Place(double value) const { return (value - low) / (high - low); }
};

struct Frame {
  Range x, y;
  Point At(Point value) const {
    return {kLeft + kWidth * x.Place(value.x), kBase - kHeight * y.Place(value.y)};
  }
};

Frame FrameOf(const LinePlot& plot) {
  Frame frame;
  for (const Point& point : plot.points) {
    frame.x.Include(point.x);
    if (std::isfinite(point.y)) frame.y.Include(point.y);
  }
  frame.x.Widen();
  frame.y.Widen();
  return frame;
}

// The points themselves where their labels have room, else round numbers.
std::vector<Tick> XTicks(const LinePlot& plot, const Frame& frame) {
  std::vector<Tick> ticks;
  double free_from = 0;
  for (const Point& point : plot.points) {
    ticks.push_back({point.x, fmt::format("{:.6g}", point.x)});
    const double half = DigitsWidth(ticks.back().label.size(), kLabelSize) / 2 + 1.5;
    const double x = frame.At({point.x, 0}).x;
    if (x - half < free_from) return LinearTicks(frame.x.low, frame.x.high, 6);
    free_from = x + half;
  }
  return ticks;
}

void DrawScales(const LinePlot& plot, const Frame& frame, SvgWriter* svg) {
  for (const Tick& tick : LinearTicks(frame.y.low, frame.y.high, 5)) {
    const double y = frame.At({0, tick.value}).y;
    svg->Line({kLeft, y}, {kEnd, y}, kGrid, 0.6);
    svg->Text({kLeft - 6, y + 0.36 * kLabelSize}, tick.label,
              {.size = kLabelSize, .anchor = Anchor::kEnd});
    if (!plot.right) continue;
    svg->Text({kEnd + 6, y + 0.36 * kLabelSize}, FourDigits(plot.right(tick.value)),
              {.size = kLabelSize, .anchor = Anchor::kStart});
  }
  for (const Tick& tick : XTicks(plot, frame)) {
    const double x = frame.At({tick.value, 0}).x;
    svg->Line({x, kBase}, {x, kBase + 3}, kAxis, 0.6);
    svg->Text({x, kBase + 13}, tick.label, {.size = kLabelSize});
  }
  svg->Line({kLeft, kTop}, {kLeft, kBase}, kAxis, 0.8);
  svg->Line({kLeft, kBase}, {kEnd, kBase}, kAxis, 0.8);
  svg->Text({kLeft + kWidth / 2, kBase + 28}, plot.x_title, {.size = kAxisTitleSize});
  svg->Text({14, kTop + kHeight / 2}, plot.y_title, {.size = kAxisTitleSize, .rotate = -90});
  if (plot.right) {
    svg->Text({kEnd + 48, kTop + kHeight / 2}, plot.right_title,
              {.size = kAxisTitleSize, .rotate = -90});
  }
}

void DrawLine(const LinePlot& plot, const Frame& frame, SvgWriter* svg) {
  std::vector<Point> run;
  const auto flush = [&] {
    if (run.size() > 1) svg->Polyline(run, kLine, 1.4);
    // A lone point between gaps shows only by its marker.
    if (plot.points.size() <= kMostMarkers || run.size() == 1) {
      for (const Point& point : run) svg->Circle(point, 2.4, kLine);
    }
    run.clear();
  };
  for (const Point& point : plot.points) {
    if (std::isfinite(point.y)) {
      run.push_back(frame.At(point));
    } else {
      flush();
    }
  }
  flush();
}

}  // namespace

std::string DrawLinePlot(const LinePlot& plot) {
  LATENTD_CHECK(!plot.points.empty());
  const Frame frame = FrameOf(plot);
  SvgWriter svg(kEnd + kRight, kBase + kBottom, plot.title, plot.note);
  DrawScales(plot, frame, &svg);
  DrawLine(plot, frame, &svg);
  svg.Text({kLeft, kBase + 42}, plot.note,
           {.size = kNoteSize, .anchor = Anchor::kStart, .fill = "#666666"});
  return svg.Finish();
}

}  // namespace latentd
