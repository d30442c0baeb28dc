// Host side of the decode attention: checks, tensor maps, two launches.
#include "kernels/core/check.h"
#include "kernels/cuda/mla_combine.cuh"
#include "kernels/cuda/mla_decode.cuh"
#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/tensor_map.cuh"

namespace latentd::cuda {
namespace {

bool Aligned16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

void CheckArgs(const MlaDecodeArgs& args) {
  const int64_t row_width = args.row_latent + args.rope_dim;
  LATENTD_CHECK(args.row_latent >= 64 && args.row_latent <= 512 && args.row_latent % 64 == 0);
  LATENTD_CHECK(args.rope_dim >= 0 && args.rope_dim <= kChunkLanes && args.num_heads >= 1);
  LATENTD_CHECK(args.key_norm == KeyNorm::kNone ||
                (args.num_kv_groups >= 1 && args.num_heads % args.num_kv_groups == 0));
  LATENTD_CHECK(args.softmax_scale > 0);
  LATENTD_CHECK(args.q_ld % 8 == 0 && args.q_ld >= row_width);
  LATENTD_CHECK(args.layer.rows % 16 == 0 && args.layer.row_bytes % 16 == 0 &&
                args.layer.row_bytes >= 2 * row_width && args.layer.alphas % 4 == 0);
  LATENTD_CHECK(Aligned16(args.q) && Aligned16(args.pool) && Aligned16(args.partials) &&
                Aligned16(args.out));
  LATENTD_CHECK(args.pool_bytes / kGranuleBytes < int64_t{1} << 31);
}

}  // namespace

void MlaDecode(CUstream_st* stream, const MlaDecodeArgs& args) {
  CheckArgs(args);
  if (args.plan->items.empty()) return;
  const int64_t row_width = args.row_latent + args.rope_dim;
  const CUtensorMap q_map = EncodeTensorMap(
      args.q, QueryBox(row_width, args.q_rows, args.q_ld * static_cast<int64_t>(sizeof(bf16))));
  const CUtensorMap latent_map = EncodeTensorMap(
      args.pool + args.layer.rows,
      LatentBox(row_width, args.layer.row_bytes, NumBlockStarts(args.pool_bytes, args.layer)));
  LaunchMlaDecode(stream, args.row_latent / kChunkLanes, args.plan->num_ctas, q_map, latent_map,
                  DecodeParamsOf(args));
  LaunchMlaCombine(stream, static_cast<int>(args.plan->row_tiles.size()), CombineParamsOf(args));
}

}  // namespace latentd::cuda
