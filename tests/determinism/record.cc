#include "tests/determinism/record.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace latentd {
namespace {

bool SameBits(const LogprobEntry& a, const LogprobEntry& b) {
  return a.token == b.token && a.rank == b.rank &&
         std::bit_cast<uint32_t>(a.logprob) == std::bit_cast<uint32_t>(b.logprob);
}

bool SameBits(const TokenLogprobs& a, const TokenLogprobs& b) {
  return SameBits(a.chosen, b.chosen) &&
         std::equal(a.top.begin(), a.top.end(), b.top.begin(), b.top.end(),
                    [](const LogprobEntry& x, const LogprobEntry& y) { return SameBits(x, y); });
}

std::string Show(const TokenLogprobs& logprobs) {
  return absl::StrFormat("%.9g (%08x) of token %d", logprobs.chosen.logprob,
                         std::bit_cast<uint32_t>(logprobs.chosen.logprob), logprobs.chosen.token);
}

}  // namespace

Record ReadRecord(TokenStream& stream) {
  Record record;
  record.status = absl::UnknownError("the stream did not end");
  while (std::optional<TokenEvent> event = stream.TryPop()) {
    if (event->kind == TokenEvent::Kind::kPrompt && event->logprobs) {
      record.prompt.push_back(*std::move(event->logprobs));
    } else if (event->kind == TokenEvent::Kind::kToken) {
      record.tokens.push_back(event->token);
      if (event->logprobs) record.logprobs.push_back(*std::move(event->logprobs));
      record.hashes.push_back(event->logits_hash.value());
    } else if (event->kind == TokenEvent::Kind::kEnd) {
      record.status = event->status;
    }
  }
  return record;
}

std::optional<std::string> FirstDifference(const Record& expected, const Record& actual,
                                           const EngineRequest& request) {
  if (!actual.status.ok()) return std::string(actual.status.message());
  const size_t prompt = request.prompt_top_logprobs ? request.prompt.size() - 1 : 0;
  if (actual.prompt.size() != prompt || actual.tokens.size() != request.max_tokens ||
      actual.logprobs.size() != actual.tokens.size() || expected.prompt.size() < prompt ||
      expected.tokens.size() < actual.tokens.size()) {
    return absl::StrCat(actual.prompt.size(), " prompt and ", actual.tokens.size(),
                        " generated tokens, not ", prompt, " and ", request.max_tokens);
  }
  for (size_t i = 0; i < prompt; ++i) {
    if (SameBits(expected.prompt[i], actual.prompt[i])) continue;
    return absl::StrCat("row of prompt position ", i, ": ", Show(actual.prompt[i]), ", alone ",
                        Show(expected.prompt[i]));
  }
  for (size_t i = 0; i < actual.tokens.size(); ++i) {
    if (expected.hashes[i] == actual.hashes[i] && expected.tokens[i] == actual.tokens[i] &&
        SameBits(expected.logprobs[i], actual.logprobs[i])) {
      continue;
    }
    const char* what =
        expected.hashes[i] != actual.hashes[i] ? "logits differ" : "same logits, drawn differently";
    return absl::StrCat("generated token ", i, " (position ", request.prompt.size() + i,
                        "): ", what, ": ", Show(actual.logprobs[i]), ", alone ",
                        Show(expected.logprobs[i]));
  }
  return std::nullopt;
}

}  // namespace latentd
