// GatherSpan and PackSpan: a thread for each element of what is written.
#pragma once

#include "kernels/cuda/body.h"
#include "kernels/cuda/expanded_parts.h"

namespace latentd::cuda {

LATENTD_HD inline const std::byte* SpanBlock(const PagedSpan& span, int64_t position) {
  return span.pool + int64_t{span.block_table[position / kBlockTokens]} * kGranuleBytes;
}

struct GatherSpanBody : ElementGrid {
  GatherSpanArgs args;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t token = i / cols, lane = i % cols;
    RowOf(args.out, token)[lane] = token < args.span.num_tokens ? Stored(token)[lane] : bf16{0};
  }

 private:
  LATENTD_HD const bf16* Stored(int64_t token) const {
    const int64_t position = args.span.first_position + token;
    return reinterpret_cast<const bf16*>(SpanBlock(args.span, position) + args.span.layer.rows +
                                         position % kBlockTokens * args.span.layer.row_bytes);
  }
};
inline GatherSpanBody MakeGatherSpan(const GatherSpanArgs& args) {
  LATENTD_CHECK(args.span.layer.format == CacheFormat::kBf16);
  LATENTD_CHECK(args.span.num_tokens <= args.out.rows && args.out.cols <= args.out.ld &&
                args.out.cols * 2 <= args.span.layer.row_bytes);
  return {{args.out.rows, args.out.cols}, args};
}

struct PackSpanBody : ElementGrid {
  PackSpanArgs args;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t lane = i % cols, token = i / cols % args.projected.rows;
    const int64_t group = i / cols / args.projected.rows;
    const float value = token < args.span.num_tokens ? ValueOf(group, token, lane) : 0.0f;
    args.out[group * args.group_stride + token * args.out_ld + lane] = ToBf16(value);
  }

 private:
  LATENTD_HD float ValueOf(int64_t group, int64_t token, int64_t lane) const {
    const float* projected =
        RowOf(args.projected, token) + group * (args.nope_dim + args.value_dim);
    const int64_t rope = lane - args.nope_dim, value = lane - args.key_ld;
    if (rope < 0) return Alpha(group, token) * projected[lane];
    if (rope < args.rope_dim) {
      const float key = ToFloat(args.rope[token * args.rope_ld + rope]);
      return args.key_norm == KeyNorm::kUnified ? Alpha(group, token) * key : key;
    }
    return value >= 0 && value < args.value_dim ? projected[args.nope_dim + value] : 0.0f;
  }
  LATENTD_HD float Alpha(int64_t group, int64_t token) const {
    if (args.key_norm == KeyNorm::kNone) return 1;
    const int64_t position = args.span.first_position + token;
    const auto* alphas =
        reinterpret_cast<const float*>(SpanBlock(args.span, position) + args.span.layer.alphas);
    return alphas[position % kBlockTokens * args.alphas_per_token + args.first_group + group];
  }
};
inline PackSpanBody MakePackSpan(const PackSpanArgs& args) {
  LATENTD_CHECK(args.span.num_tokens <= args.projected.rows &&
                args.projected.cols == args.num_groups * (args.nope_dim + args.value_dim));
  LATENTD_CHECK(args.key_ld >= args.nope_dim + args.rope_dim &&
                args.out_ld >= args.key_ld + args.value_dim &&
                args.group_stride >= args.projected.rows * args.out_ld);
  LATENTD_CHECK(args.key_norm == KeyNorm::kNone ||
                args.first_group + args.num_groups <= args.alphas_per_token);
  return {{args.num_groups * args.projected.rows, args.out_ld}, args};
}

}  // namespace latentd::cuda
