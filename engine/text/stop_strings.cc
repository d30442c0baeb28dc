#include "engine/text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace latentd {
namespace {

// border[i] is the length of the longest proper prefix of text[0, i) that is also its suffix.
std::vector<size_t> Borders(std::string_view text) {
  std::vector<size_t> border(text.size() + 1, 0);
  size_t length = 0;
  for (size_t i = 1; i < text.size(); ++i) {
    while (length > 0 && text[length] != text[i]) length = border[length];
    if (text[length] == text[i]) ++length;
    border[i + 1] = length;
  }
  return border;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop)
    : include_stop_(include_stop) {
  stops_.reserve(stops.size());
  for (std::string& text : stops) {
    std::vector<size_t> border = Borders(text);
    stops_.push_back({std::move(text), std::move(border), 0});
  }
}

void StopMatcher::Step(size_t at, std::optional<Match>* best) {
  const char byte = held_[at];
  for (size_t i = 0; i < stops_.size(); ++i) {
    Stop& stop = stops_[i];
    if (stop.matched == stop.text.size()) stop.matched = stop.border[stop.matched];
    while (stop.matched > 0 && stop.text[stop.matched] != byte) {
      stop.matched = stop.border[stop.matched];
    }
    if (stop.text[stop.matched] == byte) ++stop.matched;
    if (!enabled_ || stop.matched != stop.text.size()) continue;
    const size_t begin = at + 1 - stop.text.size();
    if (!*best || begin < (*best)->begin) *best = Match{begin, i};
  }
}

StopMatcher::Result StopMatcher::Push(std::string_view text) {
  Result result;
  if (stopped_) return result;
  // A stop that ends in the piece begins in held_ at the earliest: that is as long as the longest
  // partial match.
  const size_t piece = held_.size();
  held_.append(text);
  std::optional<Match> best;
  for (size_t at = piece; at < held_.size(); ++at) Step(at, &best);
  if (best) {
    stopped_ = true;
    result.stop_idx = best->stop_idx;
    const size_t shown = include_stop_ ? stops_[best->stop_idx].text.size() : 0;
    result.text = held_.substr(0, best->begin + shown);
    held_.clear();
    return result;
  }
  size_t keep = 0;
  for (const Stop& stop : stops_) {
    // Complete only while disabled: then what may still become a stop begins later.
    const bool is_whole = stop.matched == stop.text.size();
    keep = std::max(keep, is_whole ? stop.border[stop.matched] : stop.matched);
  }
  result.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return result;
}

std::string StopMatcher::Flush() { return std::exchange(held_, std::string()); }

}  // namespace latentd
