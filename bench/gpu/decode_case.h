// One decode attention on the device, ready to be launched again and again.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/gpu/decode_shape.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/mla_decode.h"

namespace latentd::bench {

class DecodeCase {
 public:
  // Borrows the pool, of at least PoolBytes(shape), filled by FillRandom. Makes the rest, whose
  // queries are random too.
  DecodeCase(const DecodeShape& shape, const cuda::DeviceBuffer& pool, int num_processors);

  // Enqueues both kernels.
  void Launch();
  // What the kernels are given: queries [QueryRows][RowWidth] in device memory, RandomTables, and
  // what multiplies scores.
  const bf16* q() const { return args_.q; }
  const std::vector<uint32_t>& tables() const { return tables_; }
  float softmax_scale() const { return args_.softmax_scale; }
  // Copies of the queries and, after a wait, of the outputs [QueryRows][row_latent].
  std::vector<bf16> Queries() const;
  std::vector<float> Output() const;
  // Waits, and aborts unless every output is a mean of values within ±1, as the latents are.
  void CheckOutput() const;

  // Bytes of device memory that a case takes beside the pool.
  static int64_t Bytes(const DecodeShape& shape, int num_processors);

 private:
  DecodeShape shape_;
  std::vector<uint32_t> tables_;
  cuda::DecodePlan plan_;
  cuda::DeviceBuffer q_, out_, device_tables_, items_, row_tiles_, partials_;
  cuda::MlaDecodeArgs args_;
};

}  // namespace latentd::bench
