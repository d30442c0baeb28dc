// The device of body.h on the CPU: blocks in random order, in each phase the threads of a block in
// random order, and NaN wherever a kernel finds memory uninitialised.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

namespace latentd::cuda {

template <typename Body>
void RunBlock(const Body& body, int64_t block, std::mt19937& rng) {
  const auto shared = std::make_unique_for_overwrite<typename Body::Shared>();
  std::memset(shared.get(), 0xff, sizeof(typename Body::Shared));
  std::vector<typename Body::Thread> own(Body::kThreads);
  std::memset(own.data(), 0xff, own.size() * sizeof(typename Body::Thread));
  std::vector<int> threads(Body::kThreads);
  std::iota(threads.begin(), threads.end(), 0);
  for (int phase = 0; phase < body.NumPhases(); ++phase) {
    std::shuffle(threads.begin(), threads.end(), rng);
    for (const int thread : threads) {
      body.Run(phase, block, thread, own[static_cast<size_t>(thread)], *shared);
    }
  }
}

// What Launch of launch.cuh does, at once. Each call has an order of its own.
template <typename Body>
void EmulateGrid(const Body& body) {
  static std::mt19937 rng(1);
  std::vector<int64_t> blocks(static_cast<size_t>(body.NumBlocks()));
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), rng);
  for (const int64_t block : blocks) RunBlock(body, block, rng);
}

}  // namespace latentd::cuda
