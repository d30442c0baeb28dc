#include "engine/text/stop_strings.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace latentd {
namespace {

struct Outcome {
  std::string text;
  std::optional<size_t> stop_idx;
};

// The definition, by search: the first end at or after `enabled_from` bytes where a stop is
// complete.
Outcome Naive(const std::string& text, const std::vector<std::string>& stops, bool include,
              size_t enabled_from) {
  for (size_t end = enabled_from + 1; end <= text.size(); ++end) {
    std::optional<size_t> best;
    for (size_t i = 0; i < stops.size(); ++i) {
      const bool matches = std::string_view(text).substr(0, end).ends_with(stops[i]);
      if (matches && (!best || stops[i].size() > stops[*best].size())) best = i;
    }
    if (best) return {text.substr(0, end - (include ? 0 : stops[*best].size())), best};
  }
  return {text, std::nullopt};
}

// How much of `text` may be shown: all but what may be the beginning of a stop.
size_t Releasable(const std::string& text, const std::vector<std::string>& stops) {
  size_t keep = 0;
  for (const std::string& stop : stops) {
    for (size_t n = 1; n < stop.size() && n <= text.size(); ++n) {
      if (std::string_view(text).ends_with(stop.substr(0, n))) keep = std::max(keep, n);
    }
  }
  return text.size() - keep;
}

TEST_CASE("Stops in random texts, cut at random, equal a plain search", "[text]") {
  std::mt19937 random(4);
  const auto word = [&](size_t size) {
    std::string text(size, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  int num_stopped = 0;
  for (int round = 0; round < 50000; ++round) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = word(1 + random() % 6);
    const std::string text = word(random() % 24);
    const bool include = random() % 2 == 0;
    const size_t enabled_from = random() % 2 ? 0 : random() % 12;
    const Outcome expected = Naive(text, stops, include, enabled_from);

    StopMatcher matcher(stops, include);
    Outcome got;
    for (size_t at = 0; at < text.size();) {
      // A cut where stops become enabled, as a token boundary is.
      size_t size = std::min<size_t>(random() % 5, text.size() - at);
      if (at < enabled_from) size = std::min(size, enabled_from - at);
      matcher.set_enabled(at >= enabled_from);
      const StopMatcher::Result result = matcher.Push(text.substr(at, size));
      at += size;
      got.text += result.text;
      if (result.stop_idx) got.stop_idx = result.stop_idx;
      if (!matcher.stopped()) REQUIRE(got.text.size() == Releasable(text.substr(0, at), stops));
    }
    got.text += matcher.Flush();
    INFO("text " << text << " include " << include << " enabled from " << enabled_from);
    REQUIRE(got.text == expected.text);
    REQUIRE(got.stop_idx == expected.stop_idx);
    num_stopped += expected.stop_idx.has_value();
  }
  CHECK(num_stopped > 10000);
}

TEST_CASE("A stop across tokens never leaks", "[text]") {
  StopMatcher matcher({"\n\nUser:", "STOP"}, /*include_stop=*/false);
  CHECK(matcher.Push("Hi.\n").text == "Hi.");
  CHECK(matcher.Push("\nUs").text.empty());
  CHECK(matcher.Push("ing ST").text == "\n\nUsing ");
  const StopMatcher::Result result = matcher.Push("OP and more");
  CHECK(result.text.empty());
  CHECK(result.stop_idx == 1u);
  CHECK(matcher.stopped());
  CHECK(matcher.Push("after").text.empty());
  CHECK(matcher.Flush().empty());
}

TEST_CASE("What is held back comes out at the end", "[text]") {
  StopMatcher matcher({"END"}, false);
  CHECK(matcher.Push("the EN").text == "the ");
  CHECK(matcher.Flush() == "EN");
}

TEST_CASE("While disabled a stop passes, and one begun then may end later", "[text]") {
  StopMatcher matcher({"ab"}, /*include_stop=*/true);
  matcher.set_enabled(false);
  CHECK(matcher.Push("xab").text == "xab");
  CHECK(matcher.Push("a").text.empty());
  matcher.set_enabled(true);
  const StopMatcher::Result result = matcher.Push("bc");
  CHECK(result.text == "ab");
  CHECK(result.stop_idx == 0u);
}

}  // namespace
}  // namespace latentd
