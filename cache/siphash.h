// SipHash-2-4 with a 128-bit result: a keyed hash that nobody without the key can aim at a
// collision.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace latentd {

using Hash128 = std::array<uint64_t, 2>;

// The algorithm itself (Aumasson, Bernstein), for those who bring their own way of feeding it
// words.
class SipState {
 public:
  explicit SipState(const Hash128& key);
  void Absorb(uint64_t word);
  // Ends the hash; the last word absorbed holds the length in bytes, modulo 256, in its top byte.
  Hash128 Finish();

 private:
  void Rounds(int count);

  uint64_t v0_, v1_, v2_, v3_;
};

// Hashes whole 64-bit words (their bytes in little-endian order). Pure.
Hash128 SipHash128(const Hash128& key, std::span<const uint64_t> words);

}  // namespace latentd
