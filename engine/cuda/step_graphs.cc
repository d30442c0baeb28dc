#include "engine/cuda/step_graphs.h"

#include <algorithm>
#include <utility>

namespace latentd {

int64_t GraphReserveBytes(int64_t num_layers, int64_t max_graphs) {
  constexpr int64_t kKernelBytes = 64 << 10, kLayerKernels = 24, kGraphs = 8;
  return std::min(max_graphs, kGraphs) * num_layers * kLayerKernels * kKernelBytes;
}

void StepGraphs::Run(const DecodeShape& shape, const std::function<void()>& enqueue) {
  const auto found = std::find_if(graphs_.begin(), graphs_.end(),
                                  [&](const Entry& entry) { return entry.shape == shape; });
  if (found != graphs_.end()) {
    std::rotate(found, found + 1, graphs_.end());
  } else if (!Capture(shape, enqueue)) {
    return enqueue();
  }
  graphs_.back().graph->Launch(stream_);
}

bool StepGraphs::Capture(const DecodeShape& shape, const std::function<void()>& enqueue) {
  if (max_graphs_ == 0) return false;
  if (graphs_.size() == max_graphs_) graphs_.erase(graphs_.begin());
  auto graph = cuda::Graph::TryCapture(stream_, enqueue);
  if (graph == nullptr) {
    graphs_.erase(graphs_.begin(), graphs_.begin() + static_cast<int64_t>(graphs_.size() / 2));
    max_graphs_ = graphs_.size();
    return false;
  }
  graphs_.push_back({shape, std::move(graph)});
  return true;
}

}  // namespace latentd
