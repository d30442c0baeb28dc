// Takes the tensors that a config implies out of a checkpoint, and keeps account of those that do
// not fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/checkpoint.h"
#include "engine/model/config_parts.h"
#include "kernels/core/tensor.h"

namespace latentd {

struct ReaderOptions {
  // The form of the folder's quantised matrices; empty: none is served.
  std::optional<WeightQuantisation> quantisation;
  // Tensors are accounted for, but no bytes are read or copied that only computation needs: kv_b
  // stays quantised, copies of matrices stay empty and are not searched for values that are not
  // finite, nothing is aligned. The weights cannot be run.
  bool describe_only = false;
};

// Every call gives something to store, a null view or an empty vector when the tensor is missing or
// does not fit; Finish() says whether all was well. Matrices stay mapped and their pages untouched.
// A matrix that the file does not align to its elements is copied (old writers did not pad their
// headers).
class WeightReader {
 public:
  // `progress` is told about stored bytes as they are accounted for; Finish() tells the whole sum.
  using Progress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;
  WeightReader(std::shared_ptr<const Checkpoint> checkpoint, const ReaderOptions& options,
               Progress progress);

  bool Has(const std::string& name) const { return checkpoint_->Find(name) != nullptr; }
  // As stored: plain, or quantised in the form that the options give.
  WeightView Matrix(const std::string& name, int64_t rows, int64_t cols);
  // Never quantised: a quantised matrix is refused.
  WeightView PlainMatrix(const std::string& name, int64_t rows, int64_t cols);
  // Never quantised: a quantised matrix is dequantised, to bf16 where that is exact (scales that
  // are powers of two), else to fp32.
  WeightView DenseMatrix(const std::string& name, int64_t rows, int64_t cols);
  // [count, rows, cols], as count matrices, as stored.
  std::vector<WeightView> Matrices(const std::string& name, int64_t count, int64_t rows,
                                   int64_t cols);
  // fp32 copy of a [size] tensor times `scale`; its values must be finite.
  std::vector<float> Vector(const std::string& name, int64_t size, double scale = 1);
  // fp32 copy of a [rows, cols] tensor; its values must be finite.
  std::vector<float> MatrixCopy(const std::string& name, int64_t rows, int64_t cols);

  // So many tensors are missing that there is no point in asking for more: bounds the time that a
  // config with absurd counts can cost.
  bool HasGivenUp() const { return num_missing_ >= 1000; }

  // OK, or one sentence that names the tensors that are missing, do not fit, or are not in the
  // model. `is_ignored` says which of the tensors never asked for may be left alone.
  absl::Status Finish(const std::function<bool(std::string_view)>& is_ignored);

  uint64_t num_parameters() const { return num_parameters_; }  // elements taken
  uint64_t num_bytes() const { return num_bytes_; }            // as stored
  const std::map<std::string, uint64_t>& bytes_by_dtype() const { return bytes_by_dtype_; }
  // Owns what the views point to.
  std::shared_ptr<const void> storage() const { return storage_; }

 private:
  struct Storage {
    std::shared_ptr<const Checkpoint> checkpoint;
    std::vector<std::unique_ptr<std::byte[]>> copies;
  };

  // The tensor, when it is there and has this shape and one of these dtypes. It counts as asked
  // for.
  const StoredTensor* Claim(const std::string& name, const std::vector<uint64_t>& shape,
                            std::initializer_list<const char*> dtypes);
  // The same of a dtype that the kernels read as it stands; its elements are parameters.
  const StoredTensor* Take(const std::string& name, const std::vector<uint64_t>& shape);
  const std::byte* Aligned(const StoredTensor& tensor);
  std::vector<float> Copy(const std::string& name, const std::vector<uint64_t>& shape,
                          double scale);
  bool IsStoredQuantised(const std::string& name) const;
  std::vector<WeightView> BlockScaled(const std::string& name, const std::vector<uint64_t>& lead,
                                      int64_t rows, int64_t cols);
  WeightView Packed(const std::string& name, int64_t rows, int64_t cols);
  void Fault(const StoredTensor& tensor, const std::string& what);

  std::shared_ptr<const Checkpoint> checkpoint_;
  ReaderOptions options_;
  std::shared_ptr<Storage> storage_;
  Progress progress_;
  std::unordered_set<std::string_view> taken_;
  std::vector<std::string> missing_;  // the first few
  int64_t num_missing_ = 0;
  std::string fault_;  // the first
  int64_t num_faults_ = 0;
  uint64_t num_parameters_ = 0;
  uint64_t num_bytes_ = 0;
  std::map<std::string, uint64_t> bytes_by_dtype_;
  uint64_t total_bytes_ = 0;
};

}  // namespace latentd
