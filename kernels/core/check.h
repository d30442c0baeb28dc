// Invariants of ours. Broken ones abort with file, line and a sentence; they are never input
// errors.
#pragma once

namespace latentd {

// Prints "file:line: CHECK failed: what" with a stack to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* what);

}  // namespace latentd

#define LATENTD_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::latentd::CheckFailed(__FILE__, __LINE__, #condition))
