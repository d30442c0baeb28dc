#include "server/tenant_salt.h"

#include <bit>
#include <cstring>
#include <random>
#include <string>

namespace latentd {
namespace {

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v2 += v3;
      v1 = std::rotl(v1, 13) ^ v0;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 = std::rotl(v0, 32);
      v2 += v1;
      v0 += v3;
      v1 = std::rotl(v1, 17) ^ v2;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 = std::rotl(v2, 32);
    }
  }
  void Word(uint64_t word) {
    v3 ^= word;
    Rounds(2);
    v0 ^= word;
  }
};

uint64_t Random64(std::random_device& device) {
  return uint64_t{device()} << 32 | uint64_t{device()};
}

}  // namespace

uint64_t SipHash(uint64_t key0, uint64_t key1, std::string_view bytes) {
  // The four constants are the ASCII of "somepseudorandomlygeneratedbytes", as SipHash defines.
  SipState state{key0 ^ 0x736f6d6570736575, key1 ^ 0x646f72616e646f6d, key0 ^ 0x6c7967656e657261,
                 key1 ^ 0x7465646279746573};
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    state.Word(word);
  }
  uint64_t last = static_cast<uint64_t>(bytes.size()) << 56;
  for (size_t j = i; j < bytes.size(); ++j) {
    last |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[j])) << (8 * (j - i));
  }
  state.Word(last);
  state.v2 ^= 0xff;
  state.Rounds(4);
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

TenantSalts::TenantSalts() {
  std::random_device device;
  for (uint64_t& word : secret_) word = Random64(device);
}

std::array<uint64_t, 2> TenantSalts::Salt(std::string_view key_id,
                                          std::string_view cache_salt) const {
  const uint64_t key_bytes = key_id.size();
  std::string pair(reinterpret_cast<const char*>(&key_bytes), sizeof(key_bytes));
  pair.append(key_id).append(cache_salt);
  return {SipHash(secret_[0], secret_[1], pair), SipHash(secret_[2], secret_[3], pair)};
}

}  // namespace latentd
