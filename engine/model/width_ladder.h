// The widths that `--elastic-policy pressure` steps down.
#pragma once

#include <vector>

#include "engine/model/config.h"

namespace latentd {

// Full width, then the listed pairs below it, widest first, at most three: one for each step of the
// policy (latent-attention.md section 4). Lists are paired from their full ranks down; the shorter
// one stays at its lowest. The full width alone for a model that lists no other.
std::vector<Width> WidthLadder(const ModelConfig& config);

}  // namespace latentd
