// Host side of the decode attention: checks, tensor maps, two launches.
#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/mla_combine.cuh"
#include "kernels/cuda/mla_decode.cuh"
#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/tensor_map.cuh"

namespace latentd::cuda {

void MlaDecode(CUstream_st* stream, const MlaDecodeArgs& args) {
  CheckDecodeArgs(args);
  if (args.plan->items.empty()) return;
  const int64_t row_width = args.row_latent + args.rope_dim;
  const CUtensorMap q_map = EncodeTensorMap(
      args.q, QueryBox(row_width, args.q_rows, args.q_ld * static_cast<int64_t>(sizeof(bf16))));
  const CUtensorMap latent_map = EncodeTensorMap(
      args.pool + args.layer.rows,
      LatentBox(row_width, args.layer.row_bytes, NumBlockStarts(args.pool_bytes, args.layer)));
  LaunchMlaDecode(stream, args.row_latent / kChunkLanes, *args.plan, q_map, latent_map,
                  DecodeParamsOf(args));
  LaunchMlaCombine(stream, static_cast<int>(args.plan->row_tiles.size()), CombineParamsOf(args));
}

}  // namespace latentd::cuda
