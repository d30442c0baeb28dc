// What the kernels of the CUDA back end take, asked before anything is copied there.
#pragma once

#include "absl/status/status.h"
#include "engine/model/config.h"

namespace latentd {

// OK, or UNIMPLEMENTED with one sentence that names the key which is in the way and what to do.
// Weights of every format are taken.
absl::Status CheckDeviceServes(const ModelConfig& config);

}  // namespace latentd
