// Owners and errors for the C ABI of text/.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "text/include/latentd_text.h"

namespace latentd {

// Takes an error of the C ABI; "`what`: error" as INVALID_ARGUMENT, or OK from null.
inline absl::Status TakeTextError(std::string_view what, char* error) {
  if (error == nullptr) return absl::OkStatus();
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(std::string(what), ": ", error));
  latentd_text_error_free(error);
  return status;
}

// Takes bytes of the C ABI.
inline std::string TakeTextBytes(latentd_text_bytes bytes) {
  std::string text(reinterpret_cast<const char*>(bytes.data), bytes.size);
  latentd_text_bytes_free(bytes);
  return text;
}

inline const uint8_t* TextData(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

}  // namespace latentd
