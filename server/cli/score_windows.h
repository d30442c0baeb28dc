// Log-likelihood of a text of any length, at one or several widths, through the service.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"
#include "server/service.h"

namespace latentd {

// Tokens [begin, end) of the text go in together; those from first_new on count.
struct ScoreWindow {
  size_t begin = 0, first_new = 0, end = 0;
  friend bool operator==(const ScoreWindow&, const ScoreWindow&) = default;
};

// Windows of at most `window` tokens that end `stride` tokens apart and begin as early as they can.
// Every token of the text is new in exactly one. REQUIRES: 1 <= stride <= window.
std::vector<ScoreWindow> PlanWindows(size_t num_tokens, size_t window, size_t stride);

// The first of the special tokens that the tokenizer puts before a text, which opens every window;
// what it appends (EOS) does not count.
std::optional<uint32_t> OpeningToken(const Tokenizer& tokenizer);

// A text ready to be scored any number of times.
struct ScoredText {
  std::vector<uint32_t> ids;    // without special tokens
  std::optional<uint32_t> bos;  // opens every window; without it a window's first token is unscored
  std::vector<ScoreWindow> windows;
  int64_t window = 0, stride = 0;  // tokens of the text
};

// Reads and tokenizes the file and plans its windows, as long as the served context of
// `max_context` tokens allows. stride 0: windows do not overlap. Errors: NOT_FOUND, bad stride,
// nothing to score.
absl::StatusOr<ScoredText> PrepareText(Service& service, const std::string& file,
                                       int64_t max_context, std::optional<uint32_t> bos,
                                       int64_t stride);

struct TextScore {
  double logprob = 0;  // natural log, summed in the order of the text
  int64_t scored = 0;  // tokens
  // With logits_hash: a digest of the windows' logits hashes, in the order of the text.
  std::string hash;
};

// The text's score at each width; an absent width is the server's own. Blocks; a few windows are
// in the engine at a time, of consecutive widths, so that it never waits for this thread. The
// result does not depend on the order in which windows are done. progress(done, total) counts
// windows. The first error ends it, the other windows are cancelled.
absl::StatusOr<std::vector<TextScore>> ScoreAtWidths(
    Service& service, const ScoredText& text, const std::vector<std::optional<v1::Width>>& widths,
    bool logits_hash, const std::function<void(uint64_t done, uint64_t total)>& progress);

// "tokens 9 scored of 10, window 4, stride 2, windows 4"
std::string DescribeWindows(const ScoredText& text, int64_t scored);

}  // namespace latentd
