// Long steady decodes over the empty executor, and what their steps cost.
#pragma once

#include <cstdint>

namespace latentd {

struct SteadyWork {
  int64_t batch = 1;       // sequences in every step
  int64_t steps = 1;       // measured
  int64_t vocab_size = 0;  // of the executor's rows; >= 2
};

struct SteadyCost {
  double cpu_seconds = 0;   // of the thread that steps
  double wall_seconds = 0;  // other work of the machine included
};

// Plan, Complete and Append, without an engine around them.
SteadyCost RunScheduler(const SteadyWork& work);
// EngineLoop turned by hand; after every step the same thread pops every stream.
SteadyCost RunLoop(const SteadyWork& work);
// Engine on its own thread; another one, which sleeps when there is nothing, pops the streams.
// Measured on the engine's thread.
SteadyCost RunThreads(const SteadyWork& work);

}  // namespace latentd
