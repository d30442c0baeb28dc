#include "engine/cuda/device_support.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/operators.h"
#include "kernels/cuda/sampler.h"

namespace latentd {
namespace {

constexpr int64_t kMaxLatent = 512;  // kernels/cuda/mla_decode.h
constexpr int64_t kMaxRope = 64;

absl::Status Refuse(const std::string& what) {
  return absl::UnimplementedError(absl::StrCat(what, "; use --device cpu"));
}

}  // namespace

absl::Status CheckDeviceServes(const ModelConfig& config) {
  if (config.kv_lora_rank > kMaxLatent) {
    return Refuse(absl::StrCat("kv_lora_rank ", config.kv_lora_rank, " is beyond the ", kMaxLatent,
                               " that the CUDA attention takes"));
  }
  if (config.qk_rope_head_dim > kMaxRope) {
    return Refuse(absl::StrCat("qk_rope_head_dim ", config.qk_rope_head_dim, " is beyond the ",
                               kMaxRope, " that the CUDA attention takes"));
  }
  if (config.moe && config.moe->router.num_experts > cuda::kMaxExperts) {
    return Refuse(absl::StrCat(config.moe->router.num_experts, " experts are more than the ",
                               cuda::kMaxExperts, " that the CUDA router takes"));
  }
  if (config.vocab_size > cuda::kMaxVocab) {
    return Refuse(absl::StrCat("vocab_size ", config.vocab_size, " is beyond the ", cuda::kMaxVocab,
                               " that the CUDA sampler takes"));
  }
  return absl::OkStatus();
}

}  // namespace latentd
