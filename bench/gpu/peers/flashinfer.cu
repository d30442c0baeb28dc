// FlashInfer's MLA for Hopper (its backend "fa3"), planned and called as its
// BatchMLAPagedAttentionWrapper does.
#include <flashinfer/attention/mla_hopper.cuh>
#include <flashinfer/attention/scheduler.cuh>
#include <flashinfer/fastdiv.cuh>
#include <vector>

#include "bench/gpu/peers/peer.h"
#include "kernels/cuda/check.cuh"
#include "kernels/cuda/device_memory.h"

namespace latentd::bench {
namespace {

using cuda::DeviceBuffer;
using flashinfer::MaskMode;
using Params = flashinfer::MLAParams<nv_bfloat16, nv_bfloat16, nv_bfloat16, int>;

constexpr int kWidth = 576, kLatent = 512, kRope = 64, kBlockTokens = 64;
constexpr size_t kFloatWorkspace = size_t{128} << 20;  // what its documentation advises
constexpr size_t kIntWorkspace = size_t{8} << 20;      // the wrapper's own

std::vector<int> Steps(int count, int step) {
  std::vector<int> all;
  for (int i = 0; i <= count; ++i) all.push_back(i * step);
  return all;
}

class FlashInferMla : public Peer {
 public:
  explicit FlashInferMla(const PeerCase& one)
      : causal_(one.query_tokens > 1),
        floats_(kFloatWorkspace),
        ints_(kIntWorkspace),
        indices_(sizeof(int) * static_cast<size_t>(one.batch * one.blocks_of_sequence)) {
    indices_.Upload(one.block_tables);
    Plan(one);
    SetPlanned();
    SetShape(one);
  }

  void Launch() override {
    const auto run =
        causal_
            ? flashinfer::mla::BatchMLAPageAttentionHopper<MaskMode::kCausal, kLatent, kRope,
                                                           Params>
            : flashinfer::mla::BatchMLAPageAttentionHopper<MaskMode::kNone, kLatent, kRope, Params>;
    LATENTD_CUDA_CHECK(run(params_, static_cast<uint32_t>(plan_.num_blks_x),
                           static_cast<uint32_t>(plan_.num_blks_y), nullptr));
  }

 private:
  void Plan(const PeerCase& one) {
    const cuda::PinnedBuffer staged(kIntWorkspace);
    std::vector<int> queries = Steps(one.batch, one.query_tokens);
    std::vector<int> blocks = Steps(one.batch, one.blocks_of_sequence);
    std::vector<int> contexts(static_cast<size_t>(one.batch), one.context);
    size_t staged_bytes = 0;
    LATENTD_CUDA_CHECK(
        flashinfer::MLAPlan<int>(floats_.data(), floats_.bytes(), ints_.data(), staged.data(),
                                 ints_.bytes(), plan_, staged_bytes, queries.data(), blocks.data(),
                                 contexts.data(), static_cast<uint32_t>(one.batch),
                                 static_cast<uint32_t>(one.num_heads), kLatent, causal_, nullptr));
    LATENTD_CUDA_CHECK(
        cudaMemcpy(ints_.data(), staged.data(), staged_bytes, cudaMemcpyHostToDevice));
  }

  int* Ints(int64_t offset) const { return reinterpret_cast<int*>(ints_.data() + offset); }

  void SetPlanned() {
    params_.q_indptr = Ints(plan_.q_indptr_offset);
    params_.kv_indptr = Ints(plan_.kv_indptr_offset);
    params_.partial_indptr = Ints(plan_.partial_indptr_offset);
    params_.q_len = Ints(plan_.q_len_offset);
    params_.kv_len = Ints(plan_.kv_len_offset);
    params_.q_start = Ints(plan_.q_start_offset);
    params_.kv_start = Ints(plan_.kv_start_offset);
    params_.kv_end = Ints(plan_.kv_end_offset);
    params_.work_indptr = Ints(plan_.work_indptr_offset);
    params_.merge_packed_offset_start = Ints(plan_.merge_packed_offset_start_offset);
    params_.merge_packed_offset_end = Ints(plan_.merge_packed_offset_end_offset);
    params_.merge_partial_packed_offset_start =
        Ints(plan_.merge_partial_packed_offset_start_offset);
    params_.merge_partial_packed_offset_end = Ints(plan_.merge_partial_packed_offset_end_offset);
    params_.merge_partial_stride = Ints(plan_.merge_partial_stride_offset);
    params_.partial_o = reinterpret_cast<nv_bfloat16*>(floats_.data() + plan_.partial_o_offset);
    params_.partial_lse = reinterpret_cast<float*>(floats_.data() + plan_.partial_lse_offset);
  }

  void SetShape(const PeerCase& one) {
    params_.q_nope = static_cast<nv_bfloat16*>(const_cast<void*>(one.q));
    params_.q_pe = params_.q_nope + kLatent;
    params_.ckv = static_cast<nv_bfloat16*>(const_cast<void*>(one.pool));
    params_.kpe = params_.ckv + kLatent;
    params_.kv_indices = reinterpret_cast<int*>(indices_.data());
    params_.final_o = static_cast<nv_bfloat16*>(one.out);
    params_.final_lse = nullptr;
    params_.num_heads = flashinfer::uint_fastdiv(static_cast<uint32_t>(one.num_heads));
    params_.block_size = flashinfer::uint_fastdiv(kBlockTokens);
    params_.q_nope_stride_n = params_.q_pe_stride_n = static_cast<uint32_t>(one.num_heads * kWidth);
    params_.q_nope_stride_h = params_.q_pe_stride_h = kWidth;
    params_.ckv_stride_page = params_.kpe_stride_page = kBlockTokens * kWidth;
    params_.ckv_stride_n = params_.kpe_stride_n = kWidth;
    params_.o_stride_n = static_cast<uint32_t>(one.num_heads * kLatent);
    params_.o_stride_h = kLatent;
    params_.sm_scale = one.softmax_scale;
    params_.return_lse_base_on_e = false;
  }

  bool causal_;
  DeviceBuffer floats_, ints_, indices_;
  flashinfer::MLAPlanInfo plan_ = {};
  Params params_ = {};
};

}  // namespace

const char* PeerName() { return LATENTD_PEER_NAME; }

std::unique_ptr<Peer> MakePeer(const PeerCase& peer_case) {
  return std::make_unique<FlashInferMla>(peer_case);
}

}  // namespace latentd::bench
