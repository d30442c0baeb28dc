// Element types of weights, activations and cache, and the conversions between them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace latentd {

// From kE4M3 on they are quantised: an element is a small number times a scale of its block.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kE4M3,        // 8 bits: sign, 4 bits of exponent, 3 of mantissa; 0x7f and 0xff are NaN, none is
                // infinite
  kInt4,        // two to a byte, the low half first; value + 8
  kInt8,        // in blocks of their own, scales inside (kernels/quantise.h)
  kInt4Blocks,  // the same
};

constexpr bool IsQuantised(DType dtype) { return dtype >= DType::kE4M3; }

// Rows are no longer apart: see kernels/quantise.h.
constexpr bool IsBlocked(DType dtype) { return dtype >= DType::kInt8; }

constexpr int64_t BitsOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 32;
    case DType::kF16:
    case DType::kBF16:
      return 16;
    case DType::kE4M3:
    case DType::kInt8:
      return 8;
    case DType::kInt4:
    case DType::kInt4Blocks:
      return 4;
  }
  return 0;
}

// Bytes of `count` elements that begin on a byte.
constexpr int64_t BytesOf(DType dtype, int64_t count) { return (count * BitsOf(dtype) + 7) / 8; }

// REQUIRES: not of 4 bits.
constexpr size_t SizeOf(DType dtype) { return static_cast<size_t>(BitsOf(dtype) / 8); }

// Storage of a bfloat16; arithmetic is done in fp32.
struct bf16 {
  uint16_t bits;
  friend bool operator==(bf16, bf16) = default;
};

// Storage of an IEEE half.
struct f16 {
  uint16_t bits;
};

constexpr float ToFloat(bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// Storage of an 8-bit float (OCP E4M3, "fn" in torch).
struct e4m3 {
  uint8_t bits;
};

// Round to nearest even; a NaN stays a (quiet) NaN.
constexpr bf16 ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{static_cast<uint16_t>((bits >> 16) | 0x40)};
  return bf16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};
}

// The value of x after it was stored as bf16.
constexpr float RoundToBf16(float value) { return ToFloat(ToBf16(value)); }

constexpr float ToFloat(f16 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t exponent = (value.bits >> 10) & 31;
  const uint32_t mantissa = value.bits & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal or zero: exact
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

constexpr float ToFloat(e4m3 value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x80u) << 24;
  const uint32_t exponent = (value.bits >> 3) & 15;
  const uint32_t mantissa = value.bits & 7;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000u);
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
  }
  const float magnitude = static_cast<float>(mantissa) * 0x1p-9f;  // subnormal or zero: exact
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

}  // namespace latentd
