// How the latent c of a token is stored in the cache (latent-attention.md section 3).
#pragma once

#include <cstdint>

namespace latentd {

enum class CacheFormat : uint8_t {
  kBf16,
  kInt8,  // whole numbers −127 … 127 and one fp32 scale per token: c = scale · number
};

// Of one number of c.
constexpr int64_t LatentBytes(CacheFormat format) { return format == CacheFormat::kInt8 ? 1 : 2; }

}  // namespace latentd
