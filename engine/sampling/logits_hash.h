// A fingerprint of everything a choice's tokens were drawn from: SipHash-2-4 with 128-bit output
// (Aumasson, Bernstein) over the bytes of its final logits rows, in order.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "cache/siphash.h"

namespace latentd {

// In place, so that an event that carries one needs no heap.
using LogitsDigest = std::array<char, 16>;

// Streaming SipHash-2-4-128. Any split of the bytes over Update calls gives the same digest.
// One thread at a time; copyable.
class RunningSipHash {
 public:
  // key0 and key1 are the key's two little-endian words.
  RunningSipHash(uint64_t key0, uint64_t key1);

  void Update(std::span<const std::byte> bytes);
  // More may be added afterwards.
  Hash128 Hash() const;
  // The same as bytes.
  LogitsDigest Digest() const { return std::bit_cast<LogitsDigest>(Hash()); }

 private:
  SipState state_;
  uint64_t tail_ = 0;    // bytes not yet compressed, little-endian
  uint64_t length_ = 0;  // bytes so far
};

// The running hash of one choice. Equal logits bits on the same kernel path give equal digests; the
// path (for example "cpu-avx512-bf16") keys the hash, because bits are promised per path only.
class LogitsHash {
 public:
  explicit LogitsHash(std::string_view backend);
  // A row from which a token is drawn, as the model gave it. Rows are [vocab] fp32.
  void AddRow(std::span<const float> logits) { hash_.Update(std::as_bytes(logits)); }
  LogitsDigest Digest() const { return hash_.Digest(); }

 private:
  RunningSipHash hash_;
};

}  // namespace latentd
