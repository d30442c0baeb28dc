// kernels/cuda/blaslt.h as its contract has it, on the CPU: a plain product whose sums are in an
// order that depends on the number of rows, and which knows no algorithm for outputs that begin at
// odd places.
#include "kernels/cuda/blaslt.h"

#include <functional>
#include <utility>

#include "kernels/cuda/library_rows_body.h"
#include "tests/kernels/cuda/emulated_device.h"
#include "tests/kernels/cuda/emulated_grid.h"

namespace latentd::cuda {
namespace {

bool is_there = true;
uint64_t products = 0;
uint64_t roundings = 0;
std::function<bool(const LibraryShape&)> is_left_out = [](const LibraryShape&) { return false; };

// Every `lanes`-th product onto a sum of its own, from the last one down; then the sums.
float Sum(const LibraryShape& s, const bf16* x, const bf16* w, int64_t w_step) {
  const int64_t lanes = s.tokens % 3 + 1;
  float total = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    float sum = 0;
    for (int64_t k = s.k - 1 - lane; k >= 0; k -= lanes) {
      sum += ToFloat(x[k]) * ToFloat(w[k * w_step]);
    }
    total += sum;
  }
  return total;
}

void MultiplyMatrix(const LibraryShape& s, const bf16* x, const bf16* w, float* y) {
  for (int64_t t = 0; t < s.tokens; ++t) {
    for (int64_t n = 0; n < s.n; ++n) {
      y[t * s.y_ld + n] = s.transposed ? Sum(s, x + t * s.x_ld, w + n, s.w_ld)
                                       : Sum(s, x + t * s.x_ld, w + n * s.w_ld, 1);
    }
  }
}

bool IsAligned(const void* place, uint32_t alignment) {
  return reinterpret_cast<uintptr_t>(place) % alignment == 0;
}

}  // namespace

void SetEmulatedLibrary(bool there) { is_there = there; }
void LeaveOutOfEmulatedLibrary(std::function<bool(const LibraryShape&)> which) {
  is_left_out = std::move(which);
}
uint64_t EmulatedLibraryProducts() { return products; }
uint64_t EmulatedRoundings() { return roundings; }

struct BlasLt::State {};
BlasLt::BlasLt(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlasLt::~BlasLt() = default;

std::unique_ptr<BlasLt> BlasLt::TryMake(std::string* why) {
  if (!is_there) *why = "it was taken away";
  return is_there ? std::unique_ptr<BlasLt>(new BlasLt(std::make_unique<State>())) : nullptr;
}

bool BlasLt::Knows(const LibraryShape& shape) {
  return shape.is_empty() || (shape.y_alignment >= 16 && !is_left_out(shape));
}

void BlasLt::Multiply(CUstream_st* stream, const LibraryProduct& product, std::byte* workspace) {
  const LibraryShape& s = product.shape;
  LATENTD_CHECK(Knows(s));
  LATENTD_CHECK(IsAligned(product.x, s.x_alignment) && IsAligned(product.w, s.w_alignment) &&
                IsAligned(product.y, s.y_alignment) && IsAligned(workspace, 256));
  Enqueue(stream, [product] {
    const LibraryShape& shape = product.shape;
    for (int64_t b = 0; b < shape.batch; ++b) {
      MultiplyMatrix(shape, product.x + b * shape.x_stride, product.w + b * shape.w_stride,
                     product.y + b * shape.y_stride);
    }
    ++products;
  });
}

void RoundRows(CUstream_st* stream, const RoundRowsArgs& args) {
  Enqueue(stream, [body = MakeRoundRows(args)] {
    EmulateGrid(body);
    ++roundings;
  });
}
void PackQuery(CUstream_st* stream, const AbsorbQueryArgs& args, const float* sums,
               int64_t sums_ld) {
  Enqueue(stream, [body = MakePackQuery(args, sums, sums_ld)] { EmulateGrid(body); });
}

}  // namespace latentd::cuda
