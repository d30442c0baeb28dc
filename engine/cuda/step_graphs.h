// The graphs of a model's decode steps, captured as they are first needed.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "engine/cuda/decode_step.h"
#include "kernels/cuda/device_memory.h"

namespace latentd {

// Device memory that is left to the graphs of a model with so many layers: for the first eight of
// them, or for max_graphs, at 64 KiB for each of 24 kernels a layer. A node was reported to take
// that of driver 470; nothing holds a graph to it.
int64_t GraphReserveBytes(int64_t num_layers, int64_t max_graphs);

// Keeps at most max_graphs, those used last. Engine thread only. Borrows the stream.
class StepGraphs {
 public:
  StepGraphs(CUstream_st* stream, size_t max_graphs) : stream_(stream), max_graphs_(max_graphs) {}

  // Runs the graph of the shape, captured from `enqueue` if there is none: `enqueue` must put the
  // same on the stream for every step of the shape. Where the device has no memory for another
  // graph, gives up half of them, so that something is left for what else a driver may need, keeps
  // to as many as are left, and if that is none lets `enqueue` do without.
  // REQUIRES: the stream was waited for since the last call.
  void Run(const DecodeShape& shape, const std::function<void()>& enqueue);

 private:
  struct Entry {
    DecodeShape shape;
    std::unique_ptr<const cuda::Graph> graph;
  };

  bool Capture(const DecodeShape& shape, const std::function<void()>& enqueue);

  CUstream_st* const stream_;
  size_t max_graphs_;
  std::vector<Entry> graphs_;  // the one used last at the end
};

}  // namespace latentd
