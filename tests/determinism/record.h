// What one request was answered, bit by bit, and where two answers part.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace latentd {

struct Record {
  std::vector<TokenLogprobs> prompt;    // of prompt tokens 1 …, when asked for
  std::vector<uint32_t> tokens;         // generated
  std::vector<TokenLogprobs> logprobs;  // of each
  std::vector<LogitsDigest> hashes;     // after each: over all rows drawn from so far
  absl::Status status;
};

// Reads a stream that is over.
Record ReadRecord(TokenStream& stream);

// Names the first position at which `actual` is not the beginning of `expected`; nothing when it is
// and every count is as the request asked.
std::optional<std::string> FirstDifference(const Record& expected, const Record& actual,
                                           const EngineRequest& request);

}  // namespace latentd
