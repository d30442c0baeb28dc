// Groups are taken a few at a time, so that working memory does not grow with the model. For these,
// each tile of the context is projected once and met by all query rows of the chunk. The matrix
// products are Linear's: scores Q·Kᵀ, and P·V with V stored transposed, so that both reduce along
// contiguous memory.
#include "kernels/expanded_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/check.h"
#include "kernels/core/rounding.h"
#include "kernels/core/rows.h"
#include "kernels/core/scratch.h"
#include "kernels/cpu/softmax_scalar.h"
#include "kernels/cpu/table.h"
#include "kernels/linear.h"

namespace latentd {
namespace {

constexpr int64_t kTileTokens = kUnitTokens;
constexpr int64_t kQueryRows = 128;  // of a block: 16 heads' scores are 4 MiB
constexpr int64_t kHeadsAtOnce = 16;
// Below, a tile's fixed work (projection, transposition) is not worth counting exactly.
constexpr int64_t kMinExpandedTokens = 32;
// Price of a multiply-add of the expanded route in those of the absorbed one: 29 ps against 17 at
// 16 heads on one AVX-512 core (bench/results/strict-price.md). Its products are smaller.
constexpr double kExpandedPrice = 1.8;
constexpr int64_t kTransposeTokens = 32;  // a cache line of bf16

// Kept from call to call.
struct Memory {
  Scratch latents, projected, keys, values, scores, products, largest, sums;
};

class Expanded {
 public:
  Expanded(const Context& context, const ExpandedAttentionArgs& args, Memory& memory);
  void Run();

 private:
  void RunGroups(int64_t first_group, int64_t num_groups);
  void ProjectTile(int64_t begin, int64_t count);
  void StoreKeys(int64_t begin, int64_t token);
  void StoreValues(int64_t begin, int64_t count, int64_t first_token, int64_t group);
  void AttendTile(int64_t begin, int64_t count);
  void AttendBlock(int64_t begin, int64_t count, int64_t first_row, int64_t num_rows);
  void Finish();

  const std::byte* Row(int64_t position) const {
    return Block(position) + args_.layer.rows + position % kBlockTokens * args_.layer.row_bytes;
  }
  const bf16* Rope(int64_t position) const {
    return reinterpret_cast<const bf16*>(Row(position) +
                                         args_.row_latent * LatentBytes(args_.layer.format));
  }
  // What a projected latent is to be multiplied by.
  float Scale(int64_t position) const {
    if (args_.layer.format == CacheFormat::kBf16) return 1;
    const auto* scales = reinterpret_cast<const float*>(Block(position) + args_.layer.scales);
    return scales[position % kBlockTokens];
  }
  const std::byte* Block(int64_t position) const {
    return args_.pool +
           int64_t{args_.sequence.block_table[position / kBlockTokens]} * kGranuleBytes;
  }
  float Alpha(int64_t position, int64_t group) const {
    const auto* alphas = reinterpret_cast<const float*>(Block(position) + args_.layer.alphas);
    return alphas[position % kBlockTokens * geometry_.num_kv_groups + group];
  }

  const Context& context_;
  const ExpandedAttentionArgs& args_;
  const AttentionGeometry& geometry_;
  const int64_t num_rows_;    // query tokens
  const int64_t share_;       // heads of a group
  const int64_t key_dim_;     // d_n + d_r
  const int64_t group_rows_;  // d_n + d_v
  int64_t first_group_ = 0, num_groups_ = 0;

  float* const latents_;    // [tile, w]
  float* const projected_;  // [tile, groups, d_n + d_v]
  bf16* const keys_;        // [groups, tile, d_n + d_r]
  bf16* const values_;      // [groups, d_v, tile]
  float* const scores_;     // [heads, kQueryRows, tile]
  float* const products_;   // [heads, kQueryRows, d_v]
  float* const largest_;    // [heads, num_rows]
  float* const sums_;       // [heads, num_rows]
};

int64_t GroupsAtOnce(const AttentionGeometry& geometry) {
  const int64_t share = geometry.num_heads / geometry.num_kv_groups;
  return std::min(geometry.num_kv_groups, std::max<int64_t>(1, kHeadsAtOnce / share));
}

Expanded::Expanded(const Context& context, const ExpandedAttentionArgs& args, Memory& memory)
    : context_(context),
      args_(args),
      geometry_(args.geometry),
      num_rows_(args.sequence.num_tokens),
      share_(geometry_.num_heads / geometry_.num_kv_groups),
      key_dim_(geometry_.nope_dim + geometry_.rope_dim),
      group_rows_(geometry_.nope_dim + geometry_.value_dim),
      latents_(memory.latents.GetArray<float>(kTileTokens * geometry_.latent_width)),
      projected_(
          memory.projected.GetArray<float>(kTileTokens * GroupsAtOnce(geometry_) * group_rows_)),
      keys_(memory.keys.GetArray<bf16>(GroupsAtOnce(geometry_) * kTileTokens * key_dim_)),
      values_(memory.values.GetArray<bf16>(GroupsAtOnce(geometry_) * kTileTokens *
                                           geometry_.value_dim)),
      scores_(memory.scores.GetArray<float>(GroupsAtOnce(geometry_) * share_ * kQueryRows *
                                            kTileTokens)),
      products_(memory.products.GetArray<float>(GroupsAtOnce(geometry_) * share_ * kQueryRows *
                                                geometry_.value_dim)),
      largest_(memory.largest.GetArray<float>(GroupsAtOnce(geometry_) * share_ * num_rows_)),
      sums_(memory.sums.GetArray<float>(GroupsAtOnce(geometry_) * share_ * num_rows_)) {}

void Expanded::Run() {
  const int64_t at_once = GroupsAtOnce(geometry_);
  for (int64_t group = 0; group < geometry_.num_kv_groups; group += at_once) {
    RunGroups(group, std::min(at_once, geometry_.num_kv_groups - group));
  }
}

void Expanded::RunGroups(int64_t first_group, int64_t num_groups) {
  first_group_ = first_group;
  num_groups_ = num_groups;
  const int64_t heads = num_groups * share_, width = heads * geometry_.value_dim;
  std::fill_n(largest_, heads * num_rows_, -std::numeric_limits<float>::infinity());
  std::fill_n(sums_, heads * num_rows_, 0.0f);
  for (int64_t i = 0; i < num_rows_; ++i) {
    std::fill_n(args_.out.row(i) + first_group * share_ * geometry_.value_dim, width, 0.0f);
  }
  const int64_t end = args_.sequence.first_position + num_rows_;
  for (int64_t begin = 0; begin < end; begin += kTileTokens) {
    const int64_t count = std::min(kTileTokens, end - begin);
    ProjectTile(begin, count);
    AttendTile(begin, count);
  }
  Finish();
}

// Keys and values of the tokens [begin, begin + count).
void Expanded::ProjectTile(int64_t begin, int64_t count) {
  const int64_t width = geometry_.latent_width;
  ForEachRow(context_, count, width, [&](int64_t t) {
    if (args_.layer.format == CacheFormat::kInt8) {
      std::copy_n(reinterpret_cast<const int8_t*>(Row(begin + t)), width, latents_ + t * width);
      return;
    }
    const auto* c = reinterpret_cast<const bf16*>(Row(begin + t));
    std::transform(c, c + width, latents_ + t * width, [](bf16 v) { return ToFloat(v); });
  });
  const int64_t columns = num_groups_ * group_rows_;
  Linear(context_, {.x = {latents_, count, width, width},
                    .w = args_.kv_b.Rows(first_group_ * group_rows_, columns),
                    .y = {projected_, count, columns, columns}});
  ForEachRow(context_, count, num_groups_ * key_dim_, [&](int64_t t) { StoreKeys(begin, t); });
  const int64_t runs = CeilDiv(count, kTransposeTokens);
  ForEachRow(context_, num_groups_ * runs, kTransposeTokens * geometry_.value_dim,
             [&](int64_t i) { StoreValues(begin, count, i % runs * kTransposeTokens, i / runs); });
}

void Expanded::StoreKeys(int64_t begin, int64_t token) {
  const int64_t d_n = geometry_.nope_dim, d_r = geometry_.rope_dim;
  const bf16* rope = Rope(begin + token);
  const float scale = Scale(begin + token);
  for (int64_t g = 0; g < num_groups_; ++g) {
    const float* from = projected_ + (token * num_groups_ + g) * group_rows_;
    bf16* to = keys_ + (g * kTileTokens + token) * key_dim_;
    const bool has_norm = args_.key_norm != KeyNorm::kNone;
    const float alpha = has_norm ? Alpha(begin + token, first_group_ + g) : 1;
    for (int64_t j = 0; j < d_n; ++j) to[j] = ToBf16(alpha * scale * from[j]);
    if (args_.key_norm == KeyNorm::kUnified) {
      for (int64_t j = 0; j < d_r; ++j) to[d_n + j] = ToBf16(alpha * ToFloat(rope[j]));
    } else {
      std::copy_n(rope, d_r, to + d_n);
    }
  }
}

void Expanded::StoreValues(int64_t begin, int64_t count, int64_t first_token, int64_t group) {
  const int64_t end = std::min(first_token + kTransposeTokens, count);
  bf16* to = values_ + group * geometry_.value_dim * kTileTokens;
  for (int64_t j = 0; j < geometry_.value_dim; ++j) {
    for (int64_t t = first_token; t < end; ++t) {
      to[j * kTileTokens + t] =
          ToBf16(Scale(begin + t) *
                 projected_[(t * num_groups_ + group) * group_rows_ + geometry_.nope_dim + j]);
    }
  }
}

// All query rows that see the tile, a block at a time.
void Expanded::AttendTile(int64_t begin, int64_t count) {
  const int64_t first = std::max<int64_t>(0, begin - args_.sequence.first_position);
  for (int64_t row = first; row < num_rows_; row += kQueryRows) {
    const int64_t rows = std::min(kQueryRows, num_rows_ - row);
    const int64_t last_visible = args_.sequence.first_position + row + rows - begin;
    AttendBlock(begin, std::min(count, last_visible), row, rows);
  }
}

void Expanded::AttendBlock(int64_t begin, int64_t count, int64_t first_row, int64_t num_rows) {
  const int64_t heads = num_groups_ * share_, d_v = geometry_.value_dim;
  const int64_t first_head = first_group_ * share_;
  const MatrixView<const float> q = args_.q.Rows(first_row, num_rows);
  Linear(context_, {.x = q.Cols(first_head * key_dim_, key_dim_),
                    .w = {keys_, DType::kBF16, count, key_dim_, key_dim_},
                    .y = {scores_, num_rows, count, kTileTokens},
                    .batch = heads,
                    .x_batch_stride = key_dim_,
                    .y_batch_stride = kQueryRows * kTileTokens,
                    .w_batch_stride = kTileTokens * key_dim_,
                    .w_batch_share = share_});

  const CpuKernels* kernels = KernelsOf(context_.cpu_path);
  const auto weigh = kernels != nullptr ? kernels->softmax_weights : SoftmaxWeightsScalar;
  ForEachRow(context_, heads * num_rows, count, [&](int64_t i) {
    const int64_t head = i / num_rows, row = first_row + i % num_rows;
    float* scores = scores_ + (head * kQueryRows + i % num_rows) * kTileTokens;
    const int64_t visible =
        std::clamp<int64_t>(args_.sequence.first_position + row + 1 - begin, 0, count);
    const int64_t padded = RoundUp(count, kSoftmaxLanes);
    std::fill(scores + visible, scores + padded, -std::numeric_limits<float>::infinity());
    float& largest = largest_[head * num_rows_ + row];
    float& sum = sums_[head * num_rows_ + row];
    const float before = largest;
    const float added = weigh(scores, padded, args_.softmax_scale, &largest);
    const float kept = std::exp(before - largest);  // 0 in the first tile
    sum = sum * kept + added;
    float* out = args_.out.row(row) + (first_head + head) * d_v;
    for (int64_t j = 0; j < d_v; ++j) out[j] *= kept;
  });

  Linear(context_, {.x = {scores_, num_rows, count, kTileTokens},
                    .w = {values_, DType::kBF16, d_v, count, kTileTokens},
                    .y = {products_, num_rows, d_v, d_v},
                    .batch = heads,
                    .x_batch_stride = kQueryRows * kTileTokens,
                    .y_batch_stride = kQueryRows * d_v,
                    .w_batch_stride = d_v * kTileTokens,
                    .w_batch_share = share_});
  ForEachRow(context_, num_rows, heads * d_v, [&](int64_t i) {
    float* out = args_.out.row(first_row + i) + first_head * d_v;
    for (int64_t head = 0; head < heads; ++head) {
      const float* product = products_ + (head * kQueryRows + i) * d_v;
      for (int64_t j = 0; j < d_v; ++j) out[head * d_v + j] += product[j];
    }
  });
}

void Expanded::Finish() {
  const int64_t d_v = geometry_.value_dim;
  for (int64_t head = 0; head < num_groups_ * share_; ++head) {
    for (int64_t row = 0; row < num_rows_; ++row) {
      float* out = args_.out.row(row) + (first_group_ * share_ + head) * d_v;
      const float sum = sums_[head * num_rows_ + row];
      for (int64_t j = 0; j < d_v; ++j) out[j] /= sum;
    }
  }
}

void CheckShapes(const ExpandedAttentionArgs& args) {
  const AttentionGeometry& g = args.geometry;
  LATENTD_CHECK(g.num_kv_groups >= 1 && g.num_heads % g.num_kv_groups == 0);
  LATENTD_CHECK(g.latent_width >= 1 && g.latent_width <= args.row_latent);
  LATENTD_CHECK(args.q.cols == g.num_heads * (g.nope_dim + g.rope_dim));
  LATENTD_CHECK(args.out.cols == g.num_heads * g.value_dim);
  LATENTD_CHECK(args.kv_b.rows == g.num_kv_groups * (g.nope_dim + g.value_dim) &&
                args.kv_b.cols == g.latent_width);
  LATENTD_CHECK(args.softmax_scale > 0);
  const AttentionSequence& s = args.sequence;
  LATENTD_CHECK(s.num_tokens <= args.q.rows && s.num_tokens <= args.out.rows);
  LATENTD_CHECK(static_cast<int64_t>(s.block_table.size()) * kBlockTokens >=
                s.first_position + s.num_tokens);
}

}  // namespace

bool PrefersExpanded(const AttentionGeometry& g, int64_t first_position, int64_t num_tokens) {
  const auto n = static_cast<double>(num_tokens);
  const double end = static_cast<double>(first_position) + n;
  const double pairs = n * end - n * (n - 1) / 2;
  const auto heads = static_cast<double>(g.num_heads);
  const double projection = static_cast<double>(g.latent_width * (g.nope_dim + g.value_dim));
  const double absorbed =
      pairs * heads * static_cast<double>(2 * g.latent_width + g.rope_dim) + n * heads * projection;
  const double expanded =
      pairs * heads * static_cast<double>(g.nope_dim + g.rope_dim + g.value_dim) +
      end * static_cast<double>(g.num_kv_groups) * projection;
  return num_tokens >= kMinExpandedTokens && kExpandedPrice * expanded < absorbed;
}

void ExpandedAttention(const Context& context, const ExpandedAttentionArgs& args) {
  CheckShapes(args);
  if (args.sequence.num_tokens == 0) return;
  thread_local Memory memory;
  Expanded(context, args, memory).Run();
}

}  // namespace latentd
