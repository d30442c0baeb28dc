#include "engine/text/utf8.h"

#include <cstdint>

namespace latentd {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What the bytes at the beginning of a text are.
struct Sequence {
  size_t size;  // of the character, or of the maximal prefix of one
  enum { kWhole, kInvalid, kUnfinished } kind;
};

// REQUIRES: `bytes` is not empty. The first continuation byte has a narrower range after E0, ED, F0
// and F4 (overlong forms, surrogates, beyond U+10FFFF); all others are 80..BF.
Sequence Next(std::string_view bytes) {
  const uint8_t lead = static_cast<uint8_t>(bytes[0]);
  if (lead < 0x80) return {1, Sequence::kWhole};
  const size_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0) return {1, Sequence::kInvalid};
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < size; ++i) {
    if (i == bytes.size()) return {i, Sequence::kUnfinished};
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    if (byte < low || byte > high) return {i, Sequence::kInvalid};
    low = 0x80;
    high = 0xBF;
  }
  return {size, Sequence::kWhole};
}

// Appends the whole characters of `bytes`; the size of the unfinished one at its end, 0 to 3.
size_t Decode(std::string_view bytes, std::string* out) {
  while (!bytes.empty()) {
    const Sequence next = Next(bytes);
    if (next.kind == Sequence::kUnfinished) return next.size;
    out->append(next.kind == Sequence::kWhole ? bytes.substr(0, next.size) : kReplacement);
    bytes.remove_prefix(next.size);
  }
  return 0;
}

}  // namespace

bool IsValidUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Sequence next = Next(bytes);
    if (next.kind != Sequence::kWhole) return false;
    bytes.remove_prefix(next.size);
  }
  return true;
}

std::string ToValidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (Decode(bytes, &out) != 0) out.append(kReplacement);
  return out;
}

void Utf8Stream::Append(std::string_view bytes, std::string* out) {
  while (num_held_ > 0 && !bytes.empty()) {
    held_[num_held_] = bytes[0];
    const Sequence next = Next({held_, num_held_ + 1});
    if (next.kind == Sequence::kInvalid) {  // without the new byte: what was held is a prefix
      Finish(out);
      break;
    }
    bytes.remove_prefix(1);
    ++num_held_;
    if (next.kind == Sequence::kWhole) {
      out->append(held_, num_held_);
      num_held_ = 0;
    }
  }
  if (num_held_ > 0) return;
  num_held_ = Decode(bytes, out);
  bytes.copy(held_, num_held_, bytes.size() - num_held_);
}

void Utf8Stream::Finish(std::string* out) {
  if (num_held_ > 0) out->append(kReplacement);
  num_held_ = 0;
}

}  // namespace latentd
