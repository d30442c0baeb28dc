#include "cache/siphash.h"

#include <bit>

namespace latentd {

// The constants of the published algorithm; 0xee and 0xdd set the 128-bit variant apart.
SipState::SipState(const Hash128& key)
    : v0_(key[0] ^ 0x736f6d6570736575),
      v1_(key[1] ^ 0x646f72616e646f6d ^ 0xee),
      v2_(key[0] ^ 0x6c7967656e657261),
      v3_(key[1] ^ 0x7465646279746573) {}

void SipState::Rounds(int count) {
  for (int i = 0; i < count; ++i) {
    v0_ += v1_;
    v1_ = std::rotl(v1_, 13) ^ v0_;
    v0_ = std::rotl(v0_, 32);
    v2_ += v3_;
    v3_ = std::rotl(v3_, 16) ^ v2_;
    v0_ += v3_;
    v3_ = std::rotl(v3_, 21) ^ v0_;
    v2_ += v1_;
    v1_ = std::rotl(v1_, 17) ^ v2_;
    v2_ = std::rotl(v2_, 32);
  }
}

void SipState::Absorb(uint64_t word) {
  v3_ ^= word;
  Rounds(2);
  v0_ ^= word;
}

Hash128 SipState::Finish() {
  v2_ ^= 0xee;
  Rounds(4);
  const uint64_t low = v0_ ^ v1_ ^ v2_ ^ v3_;
  v1_ ^= 0xdd;
  Rounds(4);
  return {low, v0_ ^ v1_ ^ v2_ ^ v3_};
}

Hash128 SipHash128(const Hash128& key, std::span<const uint64_t> words) {
  SipState state(key);
  for (uint64_t word : words) state.Absorb(word);
  state.Absorb((words.size() * 8) << 56);  // no bytes are left over
  return state.Finish();
}

}  // namespace latentd
