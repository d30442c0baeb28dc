// Time of work on a stream, between events of the device, for code that includes no CUDA.
#pragma once

#include <memory>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Laps are numbered from 0; each can be run once. Any thread, one at a time. A failed call aborts
// with file and line.
class Stopwatch {
 public:
  explicit Stopwatch(int num_laps);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void Start(CUstream_st* stream, int lap);
  void Stop(CUstream_st* stream, int lap);
  // Waits for the lap's end. REQUIRES: the lap was started and stopped.
  double Seconds(int lap) const;

 private:
  struct Events;
  std::unique_ptr<Events> events_;
};

}  // namespace latentd::cuda
