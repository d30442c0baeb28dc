// One-sentence errors about files: "model.safetensors: tensor 'x' has …".
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace latentd {

// Text from a file made fit for an error message: escaped, and cut after 120 bytes.
std::string Printable(std::string_view text);

// The distribution's Abseil has a string_view of its own.
inline absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view View(absl::string_view text) { return {text.data(), text.size()}; }

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

}  // namespace latentd
