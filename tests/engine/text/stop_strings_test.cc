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

// The definition, by search, in a text whose pieces end at `cuts`: the first piece where a stop is
// complete, at or after `enabled_from` bytes, and the earliest match that ends in it.
Outcome Naive(const std::string& text, const std::vector<size_t>& cuts,
              const std::vector<std::string>& stops, bool include, size_t enabled_from) {
  size_t piece = 0;
  for (const size_t cut : cuts) {
    std::optional<size_t> best, best_begin;
    for (size_t begin = 0; begin < cut && !best; ++begin) {
      for (size_t i = 0; i < stops.size(); ++i) {
        const size_t end = begin + stops[i].size();
        const bool is_complete = end > std::max(piece, enabled_from) && end <= cut &&
                                 text.compare(begin, stops[i].size(), stops[i]) == 0;
        if (is_complete && (!best || stops[i].size() < stops[*best].size())) {
          best = i;
          best_begin = begin;
        }
      }
    }
    if (best) return {text.substr(0, *best_begin + (include ? stops[*best].size() : 0)), best};
    piece = cut;
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

    std::vector<size_t> cuts;
    StopMatcher matcher(stops, include);
    Outcome got;
    for (size_t at = 0; at < text.size();) {
      // A cut where stops become enabled, as a token boundary is.
      size_t size = std::min<size_t>(random() % 5, text.size() - at);
      if (at < enabled_from) size = std::min(size, enabled_from - at);
      matcher.set_enabled(at >= enabled_from);
      const StopMatcher::Result result = matcher.Push(text.substr(at, size));
      at += size;
      cuts.push_back(at);
      got.text += result.text;
      if (result.stop_idx) got.stop_idx = result.stop_idx;
      if (!matcher.stopped()) REQUIRE(got.text.size() == Releasable(text.substr(0, at), stops));
    }
    got.text += matcher.Flush();
    const Outcome expected = Naive(text, cuts, stops, include, enabled_from);
    INFO("text " << text << " include " << include << " enabled from " << enabled_from);
    REQUIRE(got.text == expected.text);
    REQUIRE(got.stop_idx == expected.stop_idx);
    num_stopped += expected.stop_idx.has_value();
  }
  CHECK(num_stopped > 10000);
}

TEST_CASE("Of the stops that one token completes the earliest match wins", "[text]") {
  const auto stop = [](std::vector<std::string> stops, std::vector<std::string> tokens) {
    StopMatcher matcher(std::move(stops), /*include_stop=*/false);
    Outcome outcome;
    for (const std::string& token : tokens) {
      const StopMatcher::Result result = matcher.Push(token);
      outcome.text += result.text;
      if (result.stop_idx) outcome.stop_idx = result.stop_idx;
    }
    return outcome.text + "|" + (outcome.stop_idx ? std::to_string(*outcome.stop_idx) : "-");
  };
  // "N" is complete before "END", and inside it.
  CHECK(stop({"N", "END"}, {"the ", "END."}) == "the |1");
  CHECK(stop({"END", "N"}, {"the ", "END."}) == "the |0");
  CHECK(stop({"N", "END"}, {"the ", "E", "ND"}) == "the |1");
  // A token earlier there was no other: the check is made for each token.
  CHECK(stop({"N", "END"}, {"the ", "EN", "D"}) == "the E|0");
  // Of two matches that do not touch, the first in the text.
  CHECK(stop({"b", "a"}, {"xa b"}) == "x|1");
  // Of those that begin together the shortest, as if the token had come in smaller ones.
  CHECK(stop({"User:", "User"}, {"Hi ", "User:"}) == "Hi |1");
  CHECK(stop({"User:", "User"}, {"Hi ", "User", ":"}) == "Hi |1");
  CHECK(stop({"x", "x"}, {"x"}) == "|0");
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
