// UTF-8: validation, and the replacement of what is not UTF-8 by U+FFFD.
// Invalid input is replaced the way the WHATWG decoder and Rust's from_utf8_lossy do it: one U+FFFD
// for every maximal prefix of a well-formed sequence, so that a text cut anywhere and one decoded
// whole have the same replacements.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace latentd {

// Whether `bytes` is well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF).
bool IsValidUtf8(std::string_view bytes);

// `bytes` with everything that is not UTF-8 replaced.
std::string ToValidUtf8(std::string_view bytes);

// Turns a stream of bytes into a stream of whole characters: at most three bytes, the beginning of
// a character, are held back. Concatenating what Append and Finish gave equals ToValidUtf8 of all
// bytes. Not thread-safe.
class Utf8Stream {
 public:
  // Appends to *out every character that `bytes` completes.
  void Append(std::string_view bytes, std::string* out);

  // Appends U+FFFD for an unfinished character, if there is one, and starts afresh.
  void Finish(std::string* out);

  // Bytes of the unfinished character held back, 0 to 3.
  size_t pending_bytes() const { return num_held_; }

 private:
  char held_[4];
  size_t num_held_ = 0;
};

}  // namespace latentd
