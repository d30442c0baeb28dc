#include "tests/fakes/heap_count.h"

#include <cstdlib>
#include <new>

namespace {
int64_t num_allocations = 0;
}

void* operator new(size_t bytes) {
  ++num_allocations;
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
// A sanitizer brings its own of this form, whose memory must not reach our delete.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  ++num_allocations;
  return std::malloc(bytes);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace latentd {

int64_t HeapAllocations() { return num_allocations; }

}  // namespace latentd
