// Quantises matrices of a TestModel, in the two forms that are served.
#pragma once

#include <string>
#include <vector>

#include "tests/engine/model/model_folder.h"

namespace latentd {

// The config sections of the two forms.
nlohmann::json Fp8Config();
nlohmann::json Int4Config(int group_size = 32);

// Replaces `name` ([rows, cols] or [count, rows, cols]) by random e4m3 values and `name`_scale_inv
// in blocks of 128 × 128. Returns what the elements are then worth, in their order.
std::vector<double> QuantiseFp8(TestModel* model, const std::string& name,
                                bool power_of_two_scales = false);

// Replaces `name` ([rows, cols]) by random `name`_packed, `name`_scale (bf16) and `name`_shape.
std::vector<double> QuantiseInt4(TestModel* model, const std::string& name, int64_t group = 32);

}  // namespace latentd
