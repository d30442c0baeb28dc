// The content of `latentd inspect`; both of its forms are made of it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "engine/model/loader.h"

namespace latentd {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kMemoryGiB[] = {1, 8, 64};  // for which the report says what fits

// See InspectJson().
nlohmann::ordered_json InspectReport(const Model& model, int64_t memory_bytes);

}  // namespace latentd
