#include "engine/model/weight_copies.h"

#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/core/large_memory.h"
#include "kernels/core/thread_pool.h"
#include "kernels/quantise.h"

namespace latentd {
namespace {

constexpr int64_t kLine = 64;  // every copy begins on a cache line

struct Job {
  WeightView* matrix;
  const BlockFormat* format;

  int64_t copy_bytes() const {
    return (format->Bytes(matrix->rows, matrix->cols) + kLine - 1) / kLine * kLine;
  }
  uint64_t stored_bytes() const {
    return static_cast<uint64_t>(BytesOf(matrix->dtype, matrix->rows * matrix->cols));
  }
};

struct Jobs {
  std::vector<Job> jobs;
  int64_t left_quantised = 0;

  void Add(WeightView* matrix, const BlockFormat& format) {
    if (!*matrix) return;
    if (IsQuantised(matrix->dtype)) {
      ++left_quantised;
    } else {
      jobs.push_back({matrix, &format});
    }
  }
  void Add(MlpWeights* mlp, const BlockFormat& format) {
    for (WeightView* matrix : {&mlp->gate, &mlp->up, &mlp->down}) Add(matrix, format);
  }
};

Jobs JobsOf(WeightCopies copies, Weights* weights) {
  const BlockFormat& format = copies == WeightCopies::kInt8 ? kInt8Format : kInt4Format;
  Jobs jobs;
  jobs.Add(&weights->lm_head, kInt8Format);
  for (LayerWeights& w : weights->layers) {
    for (WeightView* matrix : {&w.q_proj, &w.q_a_proj, &w.q_b_proj, &w.kv_a_proj, &w.o_proj}) {
      jobs.Add(matrix, format);
    }
    jobs.Add(&w.mlp, format);
    jobs.Add(&w.shared_expert, format);
    for (MlpWeights& expert : w.experts) jobs.Add(&expert, format);
  }
  return jobs;
}

// Begins on a huge page, which spares a step some address translation. Null: the system refuses.
std::shared_ptr<std::byte> Allocate(uint64_t bytes) {
  const size_t whole = (bytes / kHugePage + 1) * kHugePage;
  void* memory = std::aligned_alloc(kHugePage, whole);
  if (memory != nullptr) AdviseLargeMemory(memory, whole);
  return {static_cast<std::byte*>(memory), std::free};
}

}  // namespace

absl::Status MakeCopies(const CopyOptions& options, Weights* weights,
                        std::vector<std::string>* notes) {
  const Jobs all = JobsOf(options.format, weights);
  uint64_t bytes = 0, stored_bytes = 0, done_bytes = 0;
  for (const Job& job : all.jobs) {
    bytes += static_cast<uint64_t>(job.copy_bytes());
    stored_bytes += job.stored_bytes();
  }
  const std::shared_ptr<std::byte> memory =
      bytes <= options.available_bytes ? Allocate(bytes) : nullptr;
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat(Name(options.format), " copies of the weights take ", bytes, " bytes and ",
                     options.available_bytes,
                     " are available; give more memory, or serve the weights as they are stored"));
  }
  ThreadPool pool(options.num_threads);
  std::byte* to = memory.get();
  for (const Job& job : all.jobs) {
    const WeightView stored = *job.matrix;
    const int64_t copy_bytes = job.copy_bytes();
    done_bytes += job.stored_bytes();
    *job.matrix = Quantise(&pool, *job.format, stored, to);
    to += copy_bytes;
    if (options.progress) options.progress(done_bytes, stored_bytes);
  }
  weights->format = options.format;
  weights->copies = memory;
  notes->push_back(absl::StrCat(all.jobs.size(), " matrices are served as ", Name(options.format),
                                " copies of ", bytes, " bytes in all",
                                options.format == WeightCopies::kInt4 ? ", the head as int8" : ""));
  if (all.left_quantised > 0) {
    notes->push_back(
        absl::StrCat(all.left_quantised, " matrices are stored quantised and served as they are"));
  }
  return absl::OkStatus();
}

}  // namespace latentd
