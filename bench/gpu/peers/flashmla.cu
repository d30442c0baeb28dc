// FlashMLA's dense decode for sm_90a, called as its dense_attn_decode_interface does.
#include <algorithm>
#include <cmath>
#include <vector>

#include "bench/gpu/peers/peer.h"
#include "kernels/cuda/check.cuh"
#include "kernels/cuda/device_memory.h"
#include "params.h"
#include "sm90/decode/dense/splitkv_mla.h"
#include "smxx/decode/combine/combine.h"
#include "smxx/decode/get_decoding_sched_meta/get_decoding_sched_meta.h"

namespace latentd::bench {
namespace {

using cuda::DeviceBuffer;

constexpr int kWidth = 576, kLatent = 512, kBlockTokens = 64;

class FlashMla : public Peer {
 public:
  explicit FlashMla(const PeerCase& one)
      : num_parts_(NumParts(one)),
        tables_(sizeof(int) * static_cast<size_t>(one.batch * one.blocks_of_sequence)),
        contexts_(sizeof(int) * static_cast<size_t>(one.batch)),
        parts_(sizeof(DecodingSchedMeta) * static_cast<size_t>(num_parts_)),
        num_splits_(sizeof(int) * static_cast<size_t>(one.batch + 1)),
        lse_(sizeof(float) * Rows(one)),
        partial_lse_(sizeof(float) * PartialRows(one)),
        partial_out_(sizeof(float) * PartialRows(one) * kLatent) {
    tables_.Upload(one.block_tables);
    contexts_.Upload(std::vector<int>(static_cast<size_t>(one.batch), one.context).data());
    Plan(one);
    SetAttention(one);
    SetCombine(one);
  }

  void Launch() override {
    sm90::run_flash_splitkv_mla_kernel<cutlass::bfloat16_t>(attention_);
    smxx::decode::run_flash_mla_combine_kernel<cutlass::bfloat16_t>(combine_);
  }

 private:
  static size_t Rows(const PeerCase& one) {
    return static_cast<size_t>(one.batch) * static_cast<size_t>(one.query_tokens * one.num_heads);
  }
  size_t PartialRows(const PeerCase& one) const {
    return static_cast<size_t>(one.batch + num_parts_) *
           static_cast<size_t>(one.query_tokens * one.num_heads);
  }
  static int NumParts(const PeerCase& one) {
    int device = 0, processors = 0;
    LATENTD_CUDA_CHECK(cudaGetDevice(&device));
    LATENTD_CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
    const int tiles = (one.query_tokens * one.num_heads + 63) / 64;
    return std::max(processors / tiles, 1);
  }
  DecodingSchedMeta* Parts() const { return reinterpret_cast<DecodingSchedMeta*>(parts_.data()); }
  template <typename T>
  static T* At(const DeviceBuffer& buffer) {
    return reinterpret_cast<T*>(buffer.data());
  }

  void Plan(const PeerCase& one) {
    GetDecodeSchedMetaParams plan = {};
    plan.b = one.batch;
    plan.s_q = one.query_tokens;
    plan.block_size_n = kBlockTokens;
    plan.fixed_overhead_num_blocks = 5;
    plan.topk = plan.extra_topk = -1;
    plan.seqlens_k_ptr = At<int>(contexts_);
    plan.tile_scheduler_metadata_ptr = Parts();
    plan.num_splits_ptr = At<int>(num_splits_);
    plan.num_sm_parts = num_parts_;
    smxx::decode::run_get_decoding_sched_meta_kernel(plan);
    LATENTD_CUDA_CHECK(cudaDeviceSynchronize());
  }

  void SetAttention(const PeerCase& one) {
    const int rows = one.query_tokens * one.num_heads;
    attention_.b = one.batch;
    attention_.s_q = one.query_tokens;
    attention_.q_seq_per_hk = rows;
    attention_.d = kWidth;
    attention_.d_v = kLatent;
    attention_.h_q = attention_.q_head_per_hk = one.num_heads;
    attention_.h_k = 1;
    attention_.num_blocks = one.num_blocks;
    attention_.is_causal = one.query_tokens > 1;
    attention_.scale_softmax = one.softmax_scale;
    attention_.scale_softmax_log2 = static_cast<float>(one.softmax_scale * M_LOG2E);
    attention_.q_ptr = const_cast<void*>(one.q);
    attention_.k_ptr = const_cast<void*>(one.pool);
    attention_.o_ptr = one.out;
    attention_.softmax_lse_ptr = At<float>(lse_);
    attention_.q_batch_stride = int64_t{rows} * kWidth;
    attention_.q_row_stride = attention_.q_head_stride = kWidth;
    attention_.k_batch_stride = kBlockTokens * kWidth;
    attention_.k_row_stride = attention_.k_head_stride = kWidth;
    attention_.o_batch_stride = attention_.o_head_stride = int64_t{rows} * kLatent;
    attention_.o_row_stride = kLatent;
    attention_.block_table = At<int>(tables_);
    attention_.block_table_batch_stride = one.blocks_of_sequence;
    attention_.page_block_size = kBlockTokens;
    attention_.tile_scheduler_metadata_ptr = Parts();
    attention_.num_sm_parts = num_parts_;
    attention_.num_splits_ptr = At<int>(num_splits_);
    attention_.total_num_splits = one.batch + num_parts_;
    attention_.softmax_lseaccum_ptr = At<float>(partial_lse_);
    attention_.oaccum_ptr = At<float>(partial_out_);
    attention_.stream = nullptr;
  }

  void SetCombine(const PeerCase& one) {
    const int rows = one.query_tokens * one.num_heads;
    combine_.b = one.batch;
    combine_.s_q = one.query_tokens;
    combine_.h_q = one.num_heads;
    combine_.d_v = kLatent;
    combine_.lse = At<float>(lse_);
    combine_.out = one.out;
    combine_.stride_lse_b = combine_.stride_lse_accum_split = rows;
    combine_.stride_lse_s_q = combine_.stride_lse_accum_s_q = one.num_heads;
    combine_.stride_o_b = combine_.stride_o_accum_split = rows * kLatent;
    combine_.stride_o_s_q = combine_.stride_o_accum_s_q = one.num_heads * kLatent;
    combine_.stride_o_h_q = combine_.stride_o_accum_h_q = kLatent;
    combine_.lse_accum = At<float>(partial_lse_);
    combine_.o_accum = At<float>(partial_out_);
    combine_.tile_scheduler_metadata_ptr = Parts();
    combine_.num_splits_ptr = At<int>(num_splits_);
    combine_.num_sm_parts = num_parts_;
    combine_.attn_sink = nullptr;
    combine_.stream = nullptr;
  }

  int num_parts_;
  DeviceBuffer tables_, contexts_, parts_, num_splits_, lse_, partial_lse_, partial_out_;
  DenseAttnDecodeParams attention_ = {};
  CombineParams combine_ = {};
};

}  // namespace

const char* PeerName() { return LATENTD_PEER_NAME; }

std::unique_ptr<Peer> MakePeer(const PeerCase& peer_case) {
  return std::make_unique<FlashMla>(peer_case);
}

}  // namespace latentd::bench
