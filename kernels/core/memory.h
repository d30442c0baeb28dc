// Memory that this process may still take.
#pragma once

#include <cstdint>
#include <string>

namespace latentd {

// The smaller of what the machine has available and what the control groups still allow, in bytes;
// what files left in a group's page cache is given back under pressure and counts as free. The
// largest value where nothing is known. `root` is put before every path that is read, for tests.
int64_t AvailableMemoryBytes(const std::string& root = "");

}  // namespace latentd
