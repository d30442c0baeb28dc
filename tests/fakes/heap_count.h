// Counts allocations in tests of code that is to make none.
#pragma once

#include <cstdint>

namespace latentd {

// Calls of operator new since the program began. A program has this count by listing heap_count.cc
// among its own sources, which replaces operator new for all of it. One thread.
int64_t HeapAllocations();

}  // namespace latentd
