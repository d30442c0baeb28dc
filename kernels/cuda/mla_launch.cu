// Host side of the decode attention: checks, tensor maps, one of the two kernels and the combine.
#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/mla_combine.cuh"
#include "kernels/cuda/mla_decode.cuh"
#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/mla_swapped.cuh"
#include "kernels/cuda/tensor_map.cuh"

namespace latentd::cuda {

void MlaDecode(CUstream_st* stream, const MlaDecodeArgs& args) {
  CheckDecodeArgs(args);
  if (args.plan->items.empty()) return;
  const int64_t row_width = args.row_latent + args.rope_dim;
  const int columns = ColumnsOf(args), latent_chunks = args.row_latent / kChunkLanes;
  const int64_t q_row_bytes = args.q_ld * static_cast<int64_t>(sizeof(bf16));
  const CUtensorMap q_map = EncodeTensorMap(
      args.q, QueryBox(row_width, args.q_rows, q_row_bytes, columns == 0 ? kTileRows : columns));
  const CUtensorMap latent_map = EncodeTensorMap(
      args.pool + args.layer.rows,
      LatentBox(row_width, args.layer.row_bytes, NumBlockStarts(args.pool_bytes, args.layer)));
  const DecodeParams params = DecodeParamsOf(args);
  if (columns == 0) {
    LaunchMlaDecode(stream, latent_chunks, *args.plan, q_map, latent_map, params);
  } else {
    LaunchMlaSwapped(stream, columns, latent_chunks, args.plan->num_ctas, q_map, latent_map,
                     params);
  }
  LaunchMlaCombine(stream, static_cast<int>(args.plan->row_tiles.size()), CombineParamsOf(args));
}

}  // namespace latentd::cuda
