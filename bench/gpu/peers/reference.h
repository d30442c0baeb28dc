// The decode attention, plainly and in double precision: what a peer is held to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bench/gpu/decode_shape.h"
#include "kernels/core/dtype.h"

namespace latentd::bench {

// q [QueryRows][RowWidth] and the host's copy of a pool of PoolBytes, with tables as of
// RandomTables. Returns [QueryRows][row_latent].
// REQUIRES: no key norm; row_latent and rope_dim multiples of 8.
std::vector<double> ReferenceDecode(const DecodeShape& shape, std::span<const bf16> q,
                                    std::span<const std::byte> pool,
                                    const std::vector<uint32_t>& tables, double softmax_scale);

}  // namespace latentd::bench
