#include "engine/sampling/logits_hash.h"

#include <bit>
#include <cstring>

namespace latentd {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie");

uint64_t LoadWord(const char* bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

RunningSipHash KeyedBy(std::string_view backend) {
  RunningSipHash of_name(0, 0);
  of_name.Update(std::as_bytes(std::span(backend)));
  const Hash128 key = of_name.Hash();
  return RunningSipHash(key[0], key[1]);
}

}  // namespace

RunningSipHash::RunningSipHash(uint64_t key0, uint64_t key1) : state_({key0, key1}) {}

void RunningSipHash::Update(std::span<const std::byte> bytes) {
  const auto* p = reinterpret_cast<const char*>(bytes.data());
  const char* const end = p + bytes.size();
  const auto add_byte = [this](char byte) {
    tail_ |= static_cast<uint64_t>(static_cast<unsigned char>(byte)) << (8 * (length_ % 8));
    if (++length_ % 8 == 0) {
      state_.Absorb(tail_);
      tail_ = 0;
    }
  };
  while (p != end && length_ % 8 != 0) add_byte(*p++);
  for (; end - p >= 8; p += 8, length_ += 8) state_.Absorb(LoadWord(p));
  while (p != end) add_byte(*p++);
}

Hash128 RunningSipHash::Hash() const {
  SipState last = state_;
  last.Absorb(tail_ | length_ << 56);
  return last.Finish();
}

LogitsHash::LogitsHash(std::string_view backend) : hash_(KeyedBy(backend)) {}

}  // namespace latentd
