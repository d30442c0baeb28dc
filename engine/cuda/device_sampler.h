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
// for, Token. What kernels are given by value follows num_rows and max_top, so that Draw may stand
// in a graph. Two copies a step, one there and one back; allocates no device memory after
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
  // Of what was added.
  int64_t list_bytes() const { return list_bytes_; }
  // Lays out what was added, and behind it rows up to num_rows whose tokens nobody gets, and
  // enqueues its copy. Pads the number of logprobs to one of few.
  // REQUIRES: num_rows is no more than PaddedRows gives for max_sequences.
  void Send(CUstream_st* stream, int64_t num_rows);
  int32_t max_top() const { return args_.max_top; }  // of SamplerArgs; since Send
  // Draws rows first … first + logits.rows − 1 of num_rows, at most kLogitsTile, in device memory.
  void Draw(CUstream_st* stream, int64_t first, MatrixView<const float> logits);
  // Enqueues the copy of all results.
  void Fetch(CUstream_st* stream);
  // As TokenSink::take's.
  absl::StatusOr<DrawnToken> Token(size_t number) const;

 private:
  // Of device memory.
  struct Pieces {
    std::byte* in = nullptr;    // rows, and behind room for the most of them lists
    std::byte* out = nullptr;   // SampledRow [num_rows], then TopLogit [num_rows, max_top]
    float* adjusted = nullptr;  // [kLogitsTile, V]
  };
  static Pieces Place(int64_t vocab, const StepLimits& limits, DeviceArena& arena);
  // To host_in_; where it begins, in elements from the beginning of all lists.
  template <typename T>
  uint32_t Put(const std::vector<T>& list);
  void PutLists();
  size_t NumTop() const { return static_cast<size_t>(args_.max_top > 0 ? args_.max_top : 0); }

  const int64_t vocab_;
  const StepLimits limits_;
  cuda::PinnedBuffer host_in_, host_out_;
  cuda::DeviceBuffer memory_;
  Pieces pieces_;
  std::vector<WantedToken> wanted_;
  int64_t list_bytes_ = 0;  // of wanted_
  SamplerBatch batch_;
  size_t num_rows_ = 0;          // with padding
  size_t used_ = 0;              // of host_in_
  cuda::SamplerArgs args_ = {};  // of the step, but for the logits
};

}  // namespace latentd
