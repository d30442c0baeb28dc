// The matrix products of a step, as the setting has them.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/cuda/activations.h"
#include "kernels/cuda/attention_operands.h"
#include "kernels/cuda/blaslt.h"

namespace latentd {

// strict: the kernels of operators.h alone. relaxed: x is rounded to bf16, as those kernels round
// it, and the library multiplies, wherever TakesLibrary says so and the library has an algorithm;
// other products are strict's. So the two differ in the order of sums and in nothing else.
//
// Enqueues and waits for nothing; of a shape that it has seen it allocates nothing. Engine thread
// only. Borrows stream and activations.
class Projections {
 public:
  // library: null is strict.
  Projections(CUstream_st* stream, std::unique_ptr<cuda::BlasLt> library, const Activations& a)
      : stream_(stream), library_(std::move(library)), a_(a) {}

  // operators.h
  void Linear(const LinearArgs& args);
  // attention_operands.h. sums: [T·H][args.row_latent], fp32 scratch that nothing else uses.
  void AbsorbQuery(const cuda::AbsorbQueryArgs& args, float* sums);
  cuda::BlasLt* library() const { return library_.get(); }

 private:
  // False when the product is not for the library, and then nothing was enqueued.
  bool ByLibrary(const cuda::MatrixProduct& product);

  CUstream_st* const stream_;
  const std::unique_ptr<cuda::BlasLt> library_;
  const Activations& a_;
};

}  // namespace latentd
