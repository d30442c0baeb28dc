#include "kernels/cpu/mla_attention_scalar.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/core/rows.h"

namespace latentd {
namespace {

// A partial softmax: Σ p and Σ p·c with p = e^(score − largest).
struct State {
  explicit State(int64_t width) : acc(width) {}
  float largest = -std::numeric_limits<float>::infinity();
  float sum = 0;
  bool empty = true;
  std::vector<float> acc;
};

// Adds `later` to `state`, and empties it.
void Fold(State& state, State& later) {
  if (state.empty) {
    std::swap(state, later);
  } else {
    const float largest = std::max(state.largest, later.largest);
    const float a = std::exp(state.largest - largest);
    const float b = std::exp(later.largest - largest);
    state.sum = state.sum * a + later.sum * b;
    for (size_t j = 0; j < state.acc.size(); ++j)
      state.acc[j] = state.acc[j] * a + later.acc[j] * b;
    state.largest = largest;
  }
  later.empty = true;
}

float ToFloat(int8_t number) { return number; }

// What one row reads: the query, rounded, and where the sequence's tokens lie. Latent is the
// element of c in the cache.
template <class Latent>
struct Row {
  const MlaAttentionArgs& args;
  const AttentionSequence& sequence;
  int64_t head;
  std::vector<float> q;

  const std::byte* Block(int64_t position) const {
    return args.pool + sequence.block_table[position / kBlockTokens] * kGranuleBytes;
  }
  const Latent* LatentOf(int64_t position) const {
    const int64_t slot = position % kBlockTokens;
    return reinterpret_cast<const Latent*>(Block(position) + args.layer.rows +
                                           slot * args.layer.row_bytes);
  }
  // What the latent of a token is to be multiplied by.
  float Scale(int64_t position) const {
    if (args.layer.format == CacheFormat::kBf16) return 1;
    const auto* scales = reinterpret_cast<const float*>(Block(position) + args.layer.scales);
    const float scale = scales[position % kBlockTokens];
    return scale == 0 ? 1 : scale;
  }
  float Alpha(int64_t position) const {
    const auto* alphas = reinterpret_cast<const float*>(Block(position) + args.layer.alphas);
    const int64_t group = head * args.num_kv_groups / args.num_heads;
    return alphas[position % kBlockTokens * args.num_kv_groups + group];
  }
  float Score(int64_t position) const;
};

template <class Latent>
float Row<Latent>::Score(int64_t position) const {
  const Latent* c = LatentOf(position);
  const auto* rope = reinterpret_cast<const bf16*>(c + args.row_latent);
  float content = 0;
  for (int64_t j = 0; j < args.row_latent; ++j) content += q[j] * ToFloat(c[j]);
  content *= Scale(position);
  float rotary = 0;
  for (int64_t j = 0; j < args.rope_dim; ++j) rotary += q[args.row_latent + j] * ToFloat(rope[j]);
  switch (args.key_norm) {
    case KeyNorm::kNone:
      return args.softmax_scale * (content + rotary);
    case KeyNorm::kBlockwise:
      return args.softmax_scale * (Alpha(position) * content + rotary);
    case KeyNorm::kUnified:
      return args.softmax_scale * (Alpha(position) * (content + rotary));
  }
  return 0;
}

// Adds the tokens [begin, end) of one tile.
template <class Latent>
void FoldTile(const Row<Latent>& row, int64_t begin, int64_t end, State& state) {
  float scores[kBlockTokens];
  float largest = state.largest;
  for (int64_t t = begin; t < end; ++t) {
    scores[t - begin] = row.Score(t);
    largest = std::max(largest, scores[t - begin]);
  }
  if (state.empty) {
    std::fill(state.acc.begin(), state.acc.end(), 0.0f);
    state.sum = 0;
    state.empty = false;
  } else {
    const float correction = std::exp(state.largest - largest);
    state.sum *= correction;
    for (float& value : state.acc) value *= correction;
  }
  state.largest = largest;
  for (int64_t t = begin; t < end; ++t) {
    // The sum takes the rounded p too, so that the weights of a row add up to one.
    const float scale = row.Scale(t);
    const float weight = RoundToBf16(std::exp(scores[t - begin] - largest) * scale);
    const Latent* c = row.LatentOf(t);
    state.sum += weight / scale;
    for (size_t j = 0; j < state.acc.size(); ++j) state.acc[j] += weight * ToFloat(c[j]);
  }
}

template <class Latent>
void AttendRow(const Row<Latent>& row, int64_t num_tokens, float* out) {
  const int64_t width = row.args.row_latent;
  State total(width), group(width), unit(width);
  for (int64_t begin = 0; begin < num_tokens; begin += kBlockTokens) {
    if (begin > 0 && begin % kUnitTokens == 0) Fold(group, unit);
    if (begin > 0 && begin % kGroupTokens == 0) Fold(total, group);
    if (unit.empty) unit.largest = -std::numeric_limits<float>::infinity();
    FoldTile(row, begin, std::min(begin + kBlockTokens, num_tokens), unit);
  }
  Fold(group, unit);
  Fold(total, group);
  for (int64_t j = 0; j < width; ++j) out[j] = total.acc[j] / total.sum;
}

template <class Latent>
void AttendAll(const Context& context, const MlaAttentionArgs& args) {
  const int64_t row_width = args.row_latent + args.rope_dim;
  for (const AttentionSequence& sequence : args.sequences) {
    const int64_t rows = sequence.num_tokens * args.num_heads;
    const int64_t last = sequence.first_position + sequence.num_tokens;
    ForEachRow(context, rows, 2 * last * row_width, [&](int64_t i) {
      const int64_t token = i / args.num_heads;
      const int64_t q_row = sequence.first_row * args.num_heads + i;
      Row<Latent> row{args, sequence, i % args.num_heads, std::vector<float>(row_width)};
      std::transform(args.q.row(q_row), args.q.row(q_row) + row_width, row.q.begin(), RoundToBf16);
      AttendRow(row, sequence.first_position + token + 1, args.out.row(q_row));
    });
  }
}

}  // namespace

void MlaAttentionScalar(const Context& context, const MlaAttentionArgs& args) {
  args.layer.format == CacheFormat::kInt8 ? AttendAll<int8_t>(context, args)
                                          : AttendAll<bf16>(context, args);
}

}  // namespace latentd
