// Where things are in a drawn picture; what is looked for must be there.
#pragma once

#include <catch2/catch.hpp>
#include <regex>
#include <string>
#include <vector>

#include "server/plot/svg.h"

namespace latentd {

// Two numbers, each group of `pattern`, of every match in the order of the document.
inline std::vector<Point> PointsOf(const std::string& svg, const std::string& pattern) {
  const std::regex shape(pattern);
  std::vector<Point> points;
  for (std::sregex_iterator i(svg.begin(), svg.end(), shape), end; i != end; ++i) {
    points.push_back({std::stod((*i)[1]), std::stod((*i)[2])});
  }
  return points;
}

inline Point FirstOf(const std::string& svg, const std::string& pattern) {
  INFO(pattern);
  const std::vector<Point> points = PointsOf(svg, pattern);
  REQUIRE(!points.empty());
  return points.front();
}

// The anchor of the first text that reads `words`.
inline Point TextAt(const std::string& svg, const std::string& words) {
  return FirstOf(svg, "<text x=\"([0-9.]+)\" y=\"([0-9.]+)\"[^>]*>" + words + "</text>");
}

inline std::vector<Point> CirclesAt(const std::string& svg) {
  return PointsOf(svg, "<circle cx=\"([0-9.]+)\" cy=\"([0-9.]+)\"");
}

// The upper left corner of the first rectangle of a colour.
inline Point RectAt(const std::string& svg, const std::string& fill) {
  return FirstOf(svg, "<rect x=\"([0-9.]+)\" y=\"([0-9.]+)\"[^>]*fill=\"" + fill + "\"");
}

}  // namespace latentd
