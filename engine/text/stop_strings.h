// Stop strings in streamed text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace latentd {

// Releases a stream of text up to the first stop string, holding back what may be the beginning of
// one. The winner is the stop that is complete first in the text; of several that end at the same
// byte, the longest, then the first in the list. So the result does not depend on how the text was
// cut into pieces. Costs the number of stops for each byte. Not thread-safe.
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

  // Advances every stop by one byte; the index of the stop that is complete, if any.
  std::optional<size_t> Step(char byte);

  std::vector<Stop> stops_;
  bool include_stop_;
  bool enabled_ = true;
  bool stopped_ = false;
  std::string held_;  // the end of the text, not yet released
};

}  // namespace latentd
