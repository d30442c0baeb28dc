// Memory that this process may still take.
#pragma once

#include <cstdint>

namespace latentd {

// The smaller of what the machine has available and what the control group still allows, in bytes.
int64_t AvailableMemoryBytes();

}  // namespace latentd
