#include "kernels/mla_attention.h"

#include "kernels/core/check.h"
#include "kernels/cpu/mla_attention_scalar.h"
#include "kernels/cpu/mla_attention_tiled.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

void CheckShapes(const MlaAttentionArgs& args) {
  LATENTD_CHECK(args.num_heads >= 1 && args.row_latent >= 64 && args.row_latent % 64 == 0);
  LATENTD_CHECK(args.rope_dim >= 0 && args.q.cols == args.row_latent + args.rope_dim);
  LATENTD_CHECK(args.softmax_scale > 0);  // a masked −∞ must stay one
  LATENTD_CHECK(args.out.cols == args.row_latent);
  LATENTD_CHECK(args.layer.row_bytes % 16 == 0 &&
                args.layer.row_bytes >=
                    args.row_latent * LatentBytes(args.layer.format) + 2 * args.rope_dim);
  LATENTD_CHECK(args.key_norm == KeyNorm::kNone ||
                (args.num_kv_groups >= 1 && args.num_heads % args.num_kv_groups == 0));
  for (const AttentionSequence& sequence : args.sequences) {
    const int64_t end = sequence.first_position + sequence.num_tokens;
    const int64_t last_row = (sequence.first_row + sequence.num_tokens) * args.num_heads;
    LATENTD_CHECK(sequence.num_tokens >= 0 && sequence.first_position >= 0);
    LATENTD_CHECK(last_row <= args.q.rows && last_row <= args.out.rows);
    LATENTD_CHECK(static_cast<int64_t>(sequence.block_table.size()) * kBlockTokens >= end);
  }
}

}  // namespace

void MlaAttention(const Context& context, const MlaAttentionArgs& args) {
  CheckShapes(args);
  if (const CpuKernels* kernels = KernelsOf(context.cpu_path)) {
    MlaAttentionTiled(context, kernels->attention[static_cast<int>(args.layer.format)], args);
  } else {
    MlaAttentionScalar(context, args);
  }
}

}  // namespace latentd
