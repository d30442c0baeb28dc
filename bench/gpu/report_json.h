// What the benchmark's programs print, as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "bench/gpu/decode_shape.h"

namespace latentd::bench {

using Json = nlohmann::ordered_json;

// To stdout; returns the exit status 0.
int Print(const Json& json);

// A shape, its floors, and the seconds of its rounds with their median.
Json Described(const DecodeShape& shape, const std::vector<double>& seconds);

}  // namespace latentd::bench
