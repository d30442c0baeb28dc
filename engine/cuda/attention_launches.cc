#include "engine/cuda/attention_launches.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/core/rounding.h"
#include "kernels/cuda/decode_plan.h"
#include "kernels/cuda/shared_tile.h"

namespace latentd {
namespace {

constexpr int64_t kTileRows = cuda::kTileRows;

// A slot is one tile of rows over one unit of tokens, and as large as the largest tile.
struct Need {
  int64_t slots = 0, slot_rows = 0;

  void Add(const AttentionSequence& s, int64_t num_heads) {
    const int64_t rows = s.num_tokens * num_heads;
    slots += CeilDiv(rows, kTileRows) * CeilDiv(s.first_position + s.num_tokens, kUnitTokens);
    slot_rows = std::max(slot_rows, std::min(rows, kTileRows));
  }
  int64_t Floats(int64_t row_latent) const {
    return slots * slot_rows * cuda::SlotRowFloats(row_latent);
  }
};

// The first tokens of a sequence.
AttentionSequence Head(AttentionSequence s, int64_t num_tokens) {
  s.num_tokens = num_tokens;
  return s;
}
AttentionSequence Rest(AttentionSequence s, int64_t num_tokens) {
  s.first_row += num_tokens;
  s.first_position += num_tokens;
  s.num_tokens -= num_tokens;
  return s;
}

}  // namespace

int64_t LeastPartialFloats(int64_t num_heads, int64_t row_latent, int64_t max_context) {
  Need need;
  need.Add({{}, 0, 1, max_context - 1}, num_heads);
  return need.Floats(row_latent);
}

bool FitOneLaunch(std::span<const AttentionSequence> sequences, int64_t num_heads,
                  int64_t row_latent, int64_t max_floats) {
  Need need;
  for (const AttentionSequence& s : sequences) need.Add(s, num_heads);
  return need.Floats(row_latent) <= max_floats;
}

std::vector<AttentionLaunch> CutLaunches(std::span<const AttentionSequence> sequences,
                                         int64_t num_heads, int64_t row_latent,
                                         int64_t max_floats) {
  std::vector<AttentionLaunch> launches;
  Need need;  // of the last launch
  const auto fits = [&](const AttentionSequence& s) {
    Need more = need;
    more.Add(s, num_heads);
    return more.Floats(row_latent) <= max_floats;
  };
  for (size_t i = 0; i < sequences.size(); ++i) {
    AttentionSequence left = sequences[i];
    while (left.num_tokens > 0) {
      int64_t count = left.num_tokens;
      while (count > 0 && !fits(Head(left, count))) count /= 2;
      if (count > 0 && !launches.empty()) {
        need.Add(Head(left, count), num_heads);
        launches.back().sequences.push_back(Head(left, count));
        left = Rest(left, count);
      }
      if (left.num_tokens == 0) break;
      LATENTD_CHECK(launches.empty() || !launches.back().sequences.empty());
      launches.push_back({{}, i});  // a sequence stands in a launch once
      need = {};
    }
  }
  return launches;
}

}  // namespace latentd
