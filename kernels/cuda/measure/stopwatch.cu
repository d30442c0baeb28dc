#include "kernels/cuda/measure/stopwatch.h"

#include <vector>

#include "kernels/cuda/check.cuh"

namespace latentd::cuda {

struct Stopwatch::Events {
  std::vector<cudaEvent_t> start, stop;
};

Stopwatch::Stopwatch(int num_laps) : events_(new Events) {
  for (std::vector<cudaEvent_t>* all : {&events_->start, &events_->stop}) {
    all->resize(static_cast<size_t>(num_laps));
    for (cudaEvent_t& event : *all) LATENTD_CUDA_CHECK(cudaEventCreate(&event));
  }
}

Stopwatch::~Stopwatch() {
  for (const std::vector<cudaEvent_t>* all : {&events_->start, &events_->stop}) {
    for (const cudaEvent_t event : *all) cudaEventDestroy(event);
  }
}

void Stopwatch::Start(CUstream_st* stream, int lap) {
  LATENTD_CUDA_CHECK(cudaEventRecord(events_->start.at(static_cast<size_t>(lap)), stream));
}
void Stopwatch::Stop(CUstream_st* stream, int lap) {
  LATENTD_CUDA_CHECK(cudaEventRecord(events_->stop.at(static_cast<size_t>(lap)), stream));
}

double Stopwatch::Seconds(int lap) const {
  const auto i = static_cast<size_t>(lap);
  float milliseconds = 0;
  LATENTD_CUDA_CHECK(cudaEventSynchronize(events_->stop.at(i)));
  LATENTD_CUDA_CHECK(
      cudaEventElapsedTime(&milliseconds, events_->start.at(i), events_->stop.at(i)));
  return milliseconds * 1e-3;
}

}  // namespace latentd::cuda
