// The sampling rules of behaviour.md once more: in double, with a full sort, for small
// vocabularies.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/sampling/params.h"

namespace latentd {

struct OracleInput {
  SamplingParams params;
  std::vector<float> logits;
  std::vector<uint32_t> prompt, output;
  uint32_t min_tokens = 0;
  std::vector<uint32_t> ending;
};

struct OracleToken {
  uint32_t token = 0;
  double low = 0, high = 0;  // its interval of the cumulative distribution
};

struct OracleResult {
  std::vector<OracleToken>
      kept;                 // descending logit, ties to the lower id; empty: nothing may come next
  bool close_call = false;  // a filter decided within rounding; what is kept may rightly differ
};

OracleResult SampleOracle(const OracleInput& input);

}  // namespace latentd
