// Stop strings in streamed text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace latentd {

// Releases a stream of text up to the first stop string, holding back what may be the beginning of
// one. The text is looked at piece by piece (a piece is what one token brings) up to the first in
// which a stop ends, and goes to the earliest match in it: of the stops that are complete there,
// the one that begins first; of those that begin together, the shortest, which was complete first;
// of equal ones, the first in the list. So what is shown before a stop has no other in it, and of
// how the text was cut only the end of that piece matters. Costs the number of stops for each byte.
// Not thread-safe.
class StopMatcher {
 public:
  struct Result {
    std::string text;  // may be shown
    std::optional<size_t>
        stop_idx;  // which stop matched; set once, and nothing is released after it
  };

  // `stops` are not empty strings. With `include_stop` the text ends after the stop, else before
  // it.
  StopMatcher(std::vector<std::string> stops, bool include_stop);

  // Takes the next piece of text. After a match it is dropped.
  Result Push(std::string_view text);

  // The held-back text, when generation ends without a stop.
  std::string Flush();

  // While disabled no stop can be complete (min_tokens); one that began then may end later.
  // Enabled at first. Takes effect with the next Push.
  void set_enabled(bool enabled) { enabled_ = enabled; }

  bool stopped() const { return stopped_; }

 private:
  struct Stop {
    std::string text;
    std::vector<size_t> border;  // [i]: longest proper border of text[0, i), for Knuth-Morris-Pratt
    size_t matched = 0;          // the text so far ends with text[0, matched), the longest such
  };

  // Where a stop was found, in held_.
  struct Match {
    size_t begin = 0, stop_idx = 0;
  };

  // Advances every stop by the byte at held_[at], and takes what is complete there and begins
  // before *best.
  void Step(size_t at, std::optional<Match>* best);

  std::vector<Stop> stops_;
  bool include_stop_;
  bool enabled_ = true;
  bool stopped_ = false;
  std::string held_;  // the end of the text, not yet released: no stop begins before it
};

}  // namespace latentd
