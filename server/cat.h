// The distribution's Abseil is built for C++14 and has a string_view of its own; these bridge it.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace latentd {

inline absl::string_view CatPart(std::string_view part) { return {part.data(), part.size()}; }
template <typename Part>
const Part& CatPart(const Part& part) {
  return part;
}

// absl::StrCat that takes std::string_view, too.
template <typename... Parts>
std::string Cat(const Parts&... parts) {
  return absl::StrCat(CatPart(parts)...);
}

}  // namespace latentd
