// What the host tells the device about a step, sent in one copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/cuda/angle_table.h"
#include "engine/cuda/attention_launches.h"
#include "engine/cuda/decode_step.h"
#include "engine/model/config.h"
#include "engine/model/step_batch.h"
#include "kernels/core/tensor.h"
#include "kernels/cuda/decode_plan.h"
#include "kernels/cuda/device_memory.h"

namespace latentd {

// What a step may have at most and how it multiplies; buffers are made for it.
struct StepLimits {
  int64_t max_rows = 0;       // tokens of a step
  int64_t max_sequences = 0;  // entries of a step
  int64_t max_context = 0;    // tokens of a sequence
  // Room for the partial sums of attention; what needs more is cut into several launches.
  int64_t partial_bytes = int64_t{256} << 20;
  // Recorded decode steps that are kept; with 0 none is recorded. No bit depends on it.
  int64_t max_graphs = 32;
  // Room for what draws bring along: the tokens that penalties and biases name, masks. A row that
  // finds none left gives its logits instead, and the host draws the same token from them.
  int64_t draw_list_bytes = int64_t{16} << 20;
  // Products by a library, which has memory of its own.
  bool relaxed = false;
  // Relaxed: room for the expanded attention of long prompt chunks, of which no more is taken than
  // it can use; where it does not suffice they stay absorbed. Tokens of context expanded at a time.
  int64_t expanded_bytes = int64_t{128} << 20;
  int64_t expanded_span_tokens = 512;
};

// One launch of the decode attention. Pointers are device memory.
struct AttentionStep {
  cuda::DecodePlan plan;  // host
  const cuda::DecodeItem* items = nullptr;
  const cuda::DecodeRowTile* row_tiles = nullptr;
  const uint32_t* block_tables = nullptr;  // of the launch's first sequence
  int64_t end_row = 0;                     // of the batch: one past the launch's last
};

// A chunk that takes the expanded route (ExpandedRoute).
struct ExpandedStep {
  const uint32_t* block_table = nullptr;  // of its sequence, device memory
  int64_t first_row = 0;                  // of the batch
  int64_t num_tokens = 0;
  int64_t first_position = 0;
};

class ExpandedRoute;

// Pointers are device memory, borrowed until the next Send.
struct StepInputs {
  std::span<const uint32_t> token_ids;   // [T]
  MatrixView<const float> angles;        // [T, d_r]
  const float* query_factors = nullptr;  // [T]; null when all are one
  const int64_t* slots = nullptr;        // [T], as LatentWrite wants them
  std::span<const int32_t> wanted;       // [T]; rows that give logits as Send was told, then 0
  int64_t block_table_ld = 0;            // elements; of a decode step 1, as items name elements
  // Of each width group: launches of the decode attention, and the chunks that are in none of them.
  std::vector<std::vector<AttentionStep>> groups;
  std::vector<std::vector<ExpandedStep>> expanded;
  // Of a step that may run as a graph: then the pointers above depend on it alone.
  std::optional<DecodeShape> shape;
};

// Engine thread only. Borrows config.
class StepSender {
 public:
  // route: which chunks are expanded, borrowed; null: none.
  StepSender(const ModelConfig& config, const StepLimits& limits, int num_processors,
             ExpandedRoute* route = nullptr);

  // Bytes of device memory that it holds.
  static int64_t DeviceBytes(const ModelConfig& config, const StepLimits& limits,
                             int num_processors);

  // Lays the batch out in pinned memory, enqueues its copy and gives what it is on the device. A
  // decode step whose attention is one launch gets a shape, and rows up to it (PadRows). The stream
  // must have been waited for since the last call.
  const StepInputs& Send(CUstream_st* stream, StepBatch* batch, std::span<const int32_t> wanted);
  // Does what can be done for the batch's next step before its tokens are known, while the device
  // is at work on this one.
  void PrepareNext(const StepBatch& batch);
  const AngleTable& angles() const { return angles_; }

 private:
  // A piece of the copy: where it is written, and where it will be.
  template <typename T>
  struct Piece {
    T* host;
    T* device;
  };
  template <typename T>
  Piece<T> Take(int64_t count);
  template <typename T>
  const T* Put(std::span<const T> from);
  void PutRows(const StepBatch& batch, std::span<const int32_t> wanted);
  const uint32_t* PutBlockTables(const StepBatch& batch);
  void PutAttention(const StepBatch& batch);
  // Of the sequences first … end − 1 of a width group.
  void PutLaunches(const StepBatch& batch, const uint32_t* tables, size_t group, size_t first,
                   size_t end);
  bool TakesGraph(const StepBatch& batch) const;
  void PutDecode(const StepBatch& batch);
  int64_t PartialFloats() const;

  const ModelConfig& config_;
  const StepLimits limits_;
  const int num_processors_;
  ExpandedRoute* const route_;
  cuda::PinnedBuffer host_;
  cuda::DeviceBuffer device_;
  AngleTable angles_;
  size_t used_ = 0;
  StepInputs inputs_;
  cuda::DecodePlanner planner_;
};

}  // namespace latentd
