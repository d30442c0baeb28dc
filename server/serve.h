// `latentd serve`.
#pragma once

#include "absl/status/status.h"
#include "server/options.h"

namespace latentd {

// Serves until a signal, then drains. REQUIRES: BlockSignals was called before any thread began.
absl::Status Serve(const Options& options);

}  // namespace latentd
