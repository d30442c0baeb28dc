#include "engine/cuda/expanded_plan.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/core/rounding.h"

namespace latentd {
namespace {

constexpr int64_t kHeadsAtOnce = 16;
constexpr int64_t kQueriesAtOnce = 512;
constexpr int64_t kScoreRows = kHeadsAtOnce * kQueriesAtOnce;
constexpr int64_t kLeastTokens = 32;
constexpr uint32_t kAlignment = 16;  // of every row, in bytes

int64_t Bytes(const ExpandedSizes& sizes) {
  DeviceArena arena;
  ExpandedMemory::Place(sizes, arena);
  return static_cast<int64_t>(arena.bytes());
}

// Σ RoundUp(c, kExpandedTile) over c = 1 … context.
int64_t RoundedContexts(int64_t context) {
  const int64_t tiles = context / kExpandedTile, rest = context % kExpandedTile;
  return kExpandedTile * (kExpandedTile * tiles * (tiles + 1) / 2 + rest * (tiles + 1));
}

cuda::LibraryShape Aligned(cuda::LibraryShape shape) {
  shape.x_alignment = shape.w_alignment = shape.y_alignment = kAlignment;
  return shape;
}

}  // namespace

ExpandedMemory ExpandedMemory::Place(const ExpandedSizes& sizes, DeviceArena& arena) {
  if (sizes.queries_at_once == 0) return {};
  const int64_t span = sizes.span_tokens, rows = sizes.heads_at_once() * sizes.queries_at_once;
  ExpandedMemory to;
  to.latents = arena.Take<bf16>(span * sizes.latent_ld());
  to.projected = arena.Take<float>(span * sizes.projected_ld());
  to.packed = arena.Take<bf16>(sizes.groups_at_once * span * sizes.packed_ld());
  to.scores = arena.Take<float>(rows * span);
  to.weights = arena.Take<bf16>(rows * span);
  to.products = arena.Take<float>(rows * sizes.products_ld());
  to.kept = arena.Take<float>(rows);
  to.largest = arena.Take<float>(sizes.max_rows * sizes.geometry.num_heads);
  to.sums = arena.Take<float>(sizes.max_rows * sizes.geometry.num_heads);
  return to;
}

ExpandedSizes PlanExpanded(const ExpandedNeeds& needs) {
  LATENTD_CHECK(needs.span_tokens >= kExpandedTile && needs.span_tokens % kExpandedTile == 0);
  ExpandedSizes sizes = {.geometry = needs.geometry,
                         .row_latent = needs.row_latent,
                         .max_rows = needs.max_rows,
                         .span_tokens = needs.span_tokens};
  const int64_t groups = needs.geometry.num_kv_groups, share = sizes.share();
  for (int64_t i = std::min(groups, std::max<int64_t>(1, kHeadsAtOnce / share)); i >= 1; --i) {
    if (groups % i != 0) continue;
    sizes.groups_at_once = i;
    const int64_t most = std::min({kQueriesAtOnce, RoundUp(needs.max_rows, kExpandedTile),
                                   std::max(kScoreRows / (i * share), kExpandedTile)});
    for (int64_t queries = most / kExpandedTile; queries >= 1; queries /= 2) {
      sizes.queries_at_once = queries * kExpandedTile;
      if (Bytes(sizes) <= needs.most_bytes) return sizes;
    }
  }
  return {};
}

bool IsCheaperExpanded(const ExpandedSizes& sizes, int64_t width, int64_t row_latent,
                       int64_t first_position, int64_t num_tokens) {
  if (sizes.queries_at_once == 0 || num_tokens < kLeastTokens) return false;
  const AttentionGeometry& g = sizes.geometry;
  const int64_t end = first_position + num_tokens;
  const auto projection = static_cast<double>(width * sizes.group_rows());
  const auto heads = static_cast<double>(g.num_heads);
  const int64_t absorbed_pairs = RoundedContexts(end) - RoundedContexts(first_position);
  const double absorbed = heads * (static_cast<double>(absorbed_pairs) *
                                       static_cast<double>(2 * row_latent + g.rope_dim) +
                                   static_cast<double>(num_tokens) * projection);
  double pairs = 0;
  for (int64_t row = 0; row < num_tokens; row += sizes.queries_at_once) {
    const int64_t queries = std::min(sizes.queries_at_once, num_tokens - row);
    pairs += static_cast<double>(RoundUp(queries, kExpandedTile)) *
             static_cast<double>(RoundUp(first_position + row + queries, kExpandedTile));
  }
  const double expanded =
      heads * pairs * static_cast<double>(sizes.key_dim() + g.value_dim) +
      static_cast<double>(RoundUp(end, kExpandedTile) * g.num_kv_groups) * projection;
  return expanded < absorbed;
}

cuda::LibraryShape ProjectionShape(const ExpandedSizes& sizes, int64_t width, int64_t w_ld,
                                   int64_t tokens) {
  return Aligned({.tokens = tokens,
                  .n = sizes.groups_at_once * sizes.group_rows(),
                  .k = width,
                  .x_ld = sizes.latent_ld(),
                  .w_ld = w_ld,
                  .y_ld = sizes.projected_ld()});
}

// The heads of a group meet its keys together, one below the other.
cuda::LibraryShape ScoresShape(const ExpandedSizes& sizes, int64_t queries, int64_t keys) {
  const int64_t rows = sizes.share() * queries;
  return Aligned({.tokens = rows,
                  .n = keys,
                  .k = sizes.key_dim(),
                  .x_ld = sizes.key_ld(),
                  .w_ld = sizes.packed_ld(),
                  .y_ld = sizes.span_tokens,
                  .batch = sizes.groups_at_once,
                  .x_stride = rows * sizes.key_ld(),
                  .w_stride = sizes.span_tokens * sizes.packed_ld(),
                  .y_stride = rows * sizes.span_tokens});
}

cuda::LibraryShape ValuesShape(const ExpandedSizes& sizes, int64_t queries, int64_t keys) {
  const int64_t rows = sizes.share() * queries;
  return Aligned({.transposed = true,
                  .tokens = rows,
                  .n = sizes.geometry.value_dim,
                  .k = keys,
                  .x_ld = sizes.span_tokens,
                  .w_ld = sizes.packed_ld(),
                  .y_ld = sizes.products_ld(),
                  .batch = sizes.groups_at_once,
                  .x_stride = rows * sizes.span_tokens,
                  .w_stride = sizes.span_tokens * sizes.packed_ld(),
                  .y_stride = rows * sizes.products_ld()});
}

}  // namespace latentd
