// Two ways to do the same work, in turn within each round and in processor time, so that the
// ratio holds though the machine is shared.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/bench/bench_runner.h"
#include "engine/model/model_executor.h"

namespace latentd {

// Medians over the rounds, in milliseconds; ratios are the other's time over the base's.
struct Price {
  double base_ms, other_ms, ratio, lowest, highest;
};

// REQUIRES: rounds >= 1.
Price ComparePrice(const std::function<void()>& base, const std::function<void()>& other,
                   int64_t rounds);
// Of a step's work. step_tokens as of the executors.
Price ComparePrice(ModelExecutor* base, ModelExecutor* other, const BenchCache& cache,
                   int64_t step_tokens, const BenchWork& work, int64_t rounds);

// Of a list with commas.
std::vector<int64_t> Numbers(const char* text);

}  // namespace latentd
