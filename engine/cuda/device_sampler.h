// The tokens of a step drawn on the device: from choices to kernels/cuda/sampler.h and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/cuda/device_arena.h"
#include "engine/cuda/step_inputs.h"
#include "engine/executor.h"
#include "engine/sampling/sampler_batch.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/sampler.h"

namespace latentd {

// Clear, Add what has room, Send, Draw until all are drawn, Fetch; when the stream has been waited
// for, Token. Two copies a step, one there and one back; allocates no device memory after
// construction. Engine thread only.
class DeviceSampler {
 public:
  // Bytes of device memory that it holds.
  static int64_t DeviceBytes(int64_t vocab, const StepLimits& limits);
  DeviceSampler(int64_t vocab, const StepLimits& limits);

  // A step begins; the stream must have been waited for.
  void Clear();
  // The token gets the next number, from 0 on; borrowed until Send. False when there is no room
  // left for the lists of its choice: then its logits say the same.
  bool Add(const WantedToken& token);
  // Lays out what was added and enqueues its copy.
  void Send(CUstream_st* stream);
  // Draws tokens first … first + logits.rows − 1 from rows in device memory, at most kLogitsTile.
  void Draw(CUstream_st* stream, int64_t first, MatrixView<const float> logits);
  // Enqueues the copy of all results.
  void Fetch(CUstream_st* stream);
  // As TokenSink::take's.
  absl::StatusOr<DrawnToken> Token(size_t number) const;

 private:
  // Of device memory.
  struct Pieces {
    std::byte* in = nullptr;    // rows, then lists
    std::byte* out = nullptr;   // SampledRow [n], then TopLogit [n, max_top]
    float* adjusted = nullptr;  // [kLogitsTile, V]
  };
  static Pieces Place(int64_t vocab, const StepLimits& limits, DeviceArena& arena);
  template <typename T>
  const T* Put(const std::vector<T>& list);
  size_t NumTop() const { return static_cast<size_t>(batch_.max_top > 0 ? batch_.max_top : 0); }

  const int64_t vocab_;
  const StepLimits limits_;
  cuda::PinnedBuffer host_in_, host_out_;
  cuda::DeviceBuffer memory_;
  Pieces pieces_;
  std::vector<WantedToken> wanted_;
  int64_t list_bytes_ = 0;  // of wanted_
  SamplerBatch batch_;
  size_t used_ = 0;              // of host_in_
  cuda::SamplerArgs args_ = {};  // of the step, but for the logits
};

}  // namespace latentd
