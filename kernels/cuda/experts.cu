#include "kernels/cuda/experts.h"

#include "kernels/cuda/expert_groups_body.h"
#include "kernels/cuda/expert_mlp_body.h"
#include "kernels/cuda/launch.cuh"

namespace latentd::cuda {

void GroupByExpert(CUstream_st* stream, const GroupByExpertArgs& args) {
  WithGroupByExpert(args, [&](const auto& body) { Launch(stream, body); });
}

void ExpertMlps(CUstream_st* stream, const ExpertMlpArgs& args) {
  WithExpertMlps(args, [&](const auto& body) { Launch(stream, body); });
}

void SumExperts(CUstream_st* stream, const SumExpertsArgs& args) {
  Launch(stream, MakeSumExperts(args));
}

}  // namespace latentd::cuda
