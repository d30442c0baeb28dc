#include "server/cli/rank_range.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "server/cat.h"

namespace latentd {
namespace {

constexpr size_t kMostRanks = 4096;

absl::Status BadRange(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(Cat("'", text, "' ", why));
}

std::optional<int64_t> ParseNumber(std::string_view text, int64_t least, int64_t most) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least || number > most) {
    return std::nullopt;
  }
  return number;
}

std::optional<uint32_t> ParseRank(std::string_view text) {
  return ParseNumber(text, 1, std::numeric_limits<int32_t>::max());
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0;;) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    if (end == text.size()) return parts;
    begin = end + 1;
  }
}

absl::Status AddRange(std::string_view text, std::vector<uint32_t>* ranks) {
  const std::vector<std::string_view> parts = Split(text, ':');
  std::vector<uint32_t> numbers;
  for (const std::string_view part : parts) {
    const std::optional<uint32_t> number = ParseRank(part);
    if (!number || parts.size() > 3) {
      return BadRange(text, "is no range of ranks: write FROM:TO:STEP, FROM:TO or one rank");
    }
    numbers.push_back(*number);
  }
  const uint32_t from = numbers[0], to = numbers.size() > 1 ? numbers[1] : from;
  const uint32_t step = numbers.size() > 2 ? numbers[2] : 1;
  if (to < from) return BadRange(text, "ends before it begins");
  if ((to - from) / step >= kMostRanks - ranks->size()) {
    return BadRange(text, Cat("makes more than ", kMostRanks, " ranks"));
  }
  // The bound above keeps rank from overflowing: both are below 2^31.
  for (uint32_t rank = from; rank <= to; rank += step) ranks->push_back(rank);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ParseRanks(std::string_view text) {
  std::vector<uint32_t> ranks;
  for (const std::string_view part : Split(text, ',')) {
    if (auto status = AddRange(part, &ranks); !status.ok()) return status;
  }
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

absl::StatusOr<v1::Width> ParseWidth(std::string_view text) {
  const std::vector<std::string_view> parts = Split(text, ',');
  const std::optional<uint32_t> kv = parts.size() == 2 ? ParseRank(parts[1]) : std::nullopt;
  const std::optional<uint32_t> q = parts[0] == "0" ? 0 : ParseRank(parts[0]);
  if (!q || !kv) {
    return absl::InvalidArgumentError(Cat("needs Q,KV, two ranks, not '", text, "'"));
  }
  v1::Width width;
  width.set_q(*q);
  width.set_kv(*kv);
  return width;
}

absl::StatusOr<std::vector<int64_t>> ParseCounts(std::string_view text, int64_t least,
                                                 int64_t most) {
  std::vector<int64_t> counts;
  for (const std::string_view part : Split(text, ',')) {
    const std::optional<int64_t> count = ParseNumber(part, least, most);
    if (!count) {
      return absl::InvalidArgumentError(
          Cat("needs numbers from ", least, " to ", most, ", joined by commas, not '", text, "'"));
    }
    counts.push_back(*count);
  }
  return counts;
}

}  // namespace latentd
