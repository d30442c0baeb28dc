#include "engine/model/message.h"

#include "absl/strings/escaping.h"

namespace latentd {

std::string Printable(std::string_view text) {
  constexpr size_t kMaxBytes = 120;
  if (text.size() <= kMaxBytes) return absl::Utf8SafeCEscape(View(text));
  size_t end = kMaxBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return absl::StrCat(absl::Utf8SafeCEscape(View(text.substr(0, end))), "…");
}

}  // namespace latentd
