// What the machine can do at best, measured in the same run as what the kernels do.
#pragma once

#include "kernels/core/context.h"

namespace latentd {

struct Roofs {
  double read_bytes_per_second = 0;  // from memory, all threads of the pool
  double flops_per_second = 0;       // of the path's own multiply-add, from registers, all threads
};

// REQUIRES: context.pool is not null; the machine runs the path's instructions.
Roofs MeasureRoofs(const Context& context);

}  // namespace latentd
