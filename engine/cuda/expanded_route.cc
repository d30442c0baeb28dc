#include "engine/cuda/expanded_route.h"

#include <algorithm>

#include "cache/block_layout.h"
#include "kernels/core/check.h"
#include "kernels/core/rounding.h"
#include "kernels/cuda/library_rows.h"

namespace latentd {
namespace {

// Of one kind and pitch in every layer, so that what the library says of one holds for all.
bool SuitsLibrary(const DeviceWeights& weights) {
  return std::all_of(weights.layers.begin(), weights.layers.end(), [&](const DeviceLayer& layer) {
    LinearArgs product;
    product.w = layer.kv_b_proj;
    return cuda::TakesLibrary(product) && product.w.ld == weights.layers[0].kv_b_proj.ld;
  });
}

}  // namespace

ExpandedRoute::ExpandedRoute(const ModelConfig& config, const DeviceWeights& weights,
                             CUstream_st* stream, cuda::BlasLt* library, const Activations& a)
    : config_(config),
      kv_b_(weights.layers[0].kv_b_proj),
      stream_(stream),
      library_(SuitsLibrary(weights) ? library : nullptr),
      a_(a) {}

bool ExpandedRoute::Takes(const AttentionSequence& chunk, int64_t width) {
  if (library_ == nullptr) return false;
  const int64_t row_latent = BlockLayout::Make(1, width, 0, 0).row_latent;
  if (!IsCheaperExpanded(a_.expanded_sizes, width, row_latent, chunk.first_position,
                         chunk.num_tokens)) {
    return false;
  }
  const auto known = is_known_.find(width);
  if (known != is_known_.end()) return known->second;
  return is_known_[width] = KnowsProducts(width);
}

bool ExpandedRoute::KnowsProducts(int64_t width) const {
  const ExpandedSizes& sizes = a_.expanded_sizes;
  for (int64_t keys = kExpandedTile; keys <= sizes.span_tokens; keys += kExpandedTile) {
    if (!library_->Knows(ProjectionShape(sizes, width, kv_b_.ld, keys))) return false;
    for (int64_t n = kExpandedTile; n <= sizes.queries_at_once; n += kExpandedTile) {
      if (!library_->Knows(ScoresShape(sizes, n, keys)) ||
          !library_->Knows(ValuesShape(sizes, n, keys))) {
        return false;
      }
    }
  }
  return true;
}

void ExpandedRoute::Attend(const ExpandedCall& call) {
  const ExpandedSizes& sizes = a_.expanded_sizes;
  const int64_t rows = call.q.rows, end = call.first_position + rows;
  LATENTD_CHECK(rows <= sizes.max_rows);
  PackQueries(call);
  for (int64_t begin = 0; begin < end; begin += sizes.span_tokens) {
    Part part;
    part.span = {call.pool, call.layer, call.block_table, begin,
                 std::min(sizes.span_tokens, end - begin)};
    part.padded_keys = RoundUp(part.span.num_tokens, kExpandedTile);
    cuda::GatherSpan(stream_,
                     {.span = part.span,
                      .out = {a_.expanded.latents, part.padded_keys,
                              call.row_latent + sizes.geometry.rope_dim, sizes.latent_ld()}});
    // The pieces before see nothing of the span.
    const int64_t first_seeing = std::max<int64_t>(0, begin - call.first_position);
    const int64_t first_piece = first_seeing / sizes.queries_at_once * sizes.queries_at_once;
    for (; part.first_group < sizes.geometry.num_kv_groups;
         part.first_group += sizes.groups_at_once) {
      Expand(call, part);
      for (int64_t row = first_piece; row < rows; row += sizes.queries_at_once) {
        AttendPiece(call, part, row);
      }
    }
  }
}

// Each piece by itself, [H][queries][key_ld], padding and all.
void ExpandedRoute::PackQueries(const ExpandedCall& call) {
  const ExpandedSizes& sizes = a_.expanded_sizes;
  const int64_t row_size = sizes.geometry.num_heads * sizes.key_ld();
  LATENTD_CHECK(RoundUp(call.q.rows, kExpandedTile) * row_size <= a_.rounded_size);
  for (int64_t row = 0; row < call.q.rows; row += sizes.queries_at_once) {
    const int64_t count = std::min(sizes.queries_at_once, call.q.rows - row);
    cuda::RoundRows(stream_, {.x = call.q.Rows(row, count).Cols(0, sizes.key_dim()),
                              .batch = sizes.geometry.num_heads,
                              .x_batch_stride = sizes.key_dim(),
                              .out = a_.rounded + row * row_size,
                              .out_ld = sizes.key_ld(),
                              .more_rows = RoundUp(count, kExpandedTile) - count});
  }
}

void ExpandedRoute::Expand(const ExpandedCall& call, const Part& part) {
  const ExpandedSizes& sizes = a_.expanded_sizes;
  const int64_t columns = sizes.groups_at_once * sizes.group_rows();
  const WeightView w = call.kv_b.Rows(part.first_group * sizes.group_rows(), columns);
  Multiply(ProjectionShape(sizes, w.cols, w.ld, part.padded_keys), a_.expanded.latents,
           static_cast<const bf16*>(w.data), a_.expanded.projected);
  cuda::PackSpan(stream_, {.projected = {a_.expanded.projected, part.padded_keys, columns,
                                         sizes.projected_ld()},
                           .rope = a_.expanded.latents + call.row_latent,
                           .rope_ld = sizes.latent_ld(),
                           .span = part.span,
                           .key_norm = config_.key_norm,
                           .alphas_per_token = config_.num_alphas(),
                           .first_group = part.first_group,
                           .num_groups = sizes.groups_at_once,
                           .nope_dim = sizes.geometry.nope_dim,
                           .rope_dim = sizes.geometry.rope_dim,
                           .value_dim = sizes.geometry.value_dim,
                           .out = a_.expanded.packed,
                           .key_ld = sizes.key_ld(),
                           .out_ld = sizes.packed_ld(),
                           .group_stride = sizes.span_tokens * sizes.packed_ld()});
}

void ExpandedRoute::AttendPiece(const ExpandedCall& call, const Part& part, int64_t first_row) {
  const ExpandedSizes& sizes = a_.expanded_sizes;
  const ExpandedMemory& m = a_.expanded;
  const int64_t num_heads = sizes.geometry.num_heads, d_v = sizes.geometry.value_dim;
  const int64_t rows = std::min(sizes.queries_at_once, call.q.rows - first_row);
  const int64_t queries = RoundUp(rows, kExpandedTile),
                first_head = part.first_group * sizes.share();
  const int64_t end = call.first_position + first_row + rows;  // of what the last row sees
  const int64_t keys = std::min(part.span.num_tokens, end - part.span.first_position);
  const int64_t state = first_row * num_heads + first_head;

  const bf16* q = a_.rounded + (first_row * num_heads + first_head * queries) * sizes.key_ld();
  Multiply(ScoresShape(sizes, queries, RoundUp(keys, kExpandedTile)), q, m.packed, m.scores);
  const bool is_first = part.span.first_position == 0;
  cuda::WeighSpan(stream_,
                  {.scores = m.scores,
                   .weights = m.weights,
                   .ld = sizes.span_tokens,
                   .num_heads = sizes.heads_at_once(),
                   .num_queries = queries,
                   .num_rows = rows,
                   .num_keys = keys,
                   .padded_keys = RoundUp(keys, kExpandedTile),
                   .visible = call.first_position + first_row + 1 - part.span.first_position,
                   .softmax_scale = config_.softmax_scale,
                   .is_first = is_first,
                   .largest = m.largest + state,
                   .sums = m.sums + state,
                   .state_ld = num_heads,
                   .kept = m.kept});
  Multiply(ValuesShape(sizes, queries, RoundUp(keys, kExpandedTile)), m.weights,
           m.packed + sizes.key_ld(), m.products);
  cuda::MergeSpan(
      stream_,
      {.products = m.products,
       .products_ld = sizes.products_ld(),
       .num_heads = sizes.heads_at_once(),
       .num_queries = queries,
       .value_dim = d_v,
       .kept = m.kept,
       .sums = m.sums + state,
       .state_ld = num_heads,
       .is_first = is_first,
       .is_last = part.span.first_position + sizes.span_tokens >= end,
       .out = call.out.Rows(first_row, rows).Cols(first_head * d_v, sizes.heads_at_once() * d_v)});
}

void ExpandedRoute::Multiply(const cuda::LibraryShape& shape, const bf16* x, const bf16* w,
                             float* y) {
  cuda::LibraryProduct product;
  product.shape = shape;
  product.x = x;
  product.w = w;
  product.y = y;
  library_->Multiply(stream_, product, a_.library_workspace);
}

}  // namespace latentd
