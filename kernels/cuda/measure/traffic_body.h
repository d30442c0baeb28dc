// Kernels that only move bytes: what memory can do, and data that hides nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/body.h"

namespace latentd::cuda {

// What one thread loads at once.
struct alignas(16) Words {
  uint32_t at[4];
};
constexpr int64_t kWordsBytes = 16;

constexpr int kTrafficThreads = 256;
constexpr int kTrafficItems = 4;  // Words of a thread that are in flight together
constexpr int64_t kTrafficStride = kTrafficThreads * kTrafficItems;

// Two bf16 values of ±[0.5, 1), sign and mantissa random: finite as bf16 and as fp32, and no power
// is saved by bits that never change.
LATENTD_HD constexpr uint32_t RandomPair(uint64_t index, uint32_t seed) {
  uint64_t bits = (index + 1) * 0x9e3779b97f4a7c15u + seed * uint64_t{0xd1342543de82ef95u};
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
  return (static_cast<uint32_t>(bits >> 32) & 0x807f807fu) | 0x3f003f00u;
}

struct TrafficGrid {
  static constexpr int kThreads = kTrafficThreads;
  struct Shared {};
  struct Thread {};

  LATENTD_HD int NumPhases() const { return 1; }
};

struct FillBody : TrafficGrid {
  Words* to;
  int64_t count;
  uint32_t seed;

  int64_t NumBlocks() const { return CeilDiv(count, kTrafficStride); }
  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    for (int item = 0; item < kTrafficItems; ++item) {
      const int64_t i = block * kTrafficStride + item * kThreads + thread;
      if (i >= count) return;
      Words words;
      for (int j = 0; j < 4; ++j) words.at[j] = RandomPair(static_cast<uint64_t>(4 * i + j), seed);
      to[i] = words;
    }
  }
};

struct CopyBody : TrafficGrid {
  const Words* from;
  Words* to;
  int64_t count;

  int64_t NumBlocks() const { return CeilDiv(count, kTrafficStride); }
  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t first = block * kTrafficStride + thread;
    Words words[kTrafficItems];
    for (int item = 0; item < kTrafficItems; ++item) {
      const int64_t i = first + item * kThreads;
      if (i < count) words[item] = from[i];
    }
    for (int item = 0; item < kTrafficItems; ++item) {
      const int64_t i = first + item * kThreads;
      if (i < count) to[i] = words[item];
    }
  }
};

// Every thread of a fixed grid folds what it read into one word: 4 bytes written for many read.
struct ReadBody : TrafficGrid {
  const Words* from;
  int64_t count;
  int64_t num_blocks;
  uint32_t* folded;  // [num_blocks][kThreads]

  int64_t NumBlocks() const { return num_blocks; }
  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    uint32_t fold = 0;
    for (int64_t first = block * kTrafficStride; first < count;
         first += num_blocks * kTrafficStride) {
      Words words[kTrafficItems];
      for (int item = 0; item < kTrafficItems; ++item) {
        const int64_t i = first + item * kThreads + thread;
        words[item] = i < count ? from[i] : Words{};
      }
      for (int item = 0; item < kTrafficItems; ++item) {
        for (int j = 0; j < 4; ++j) fold ^= words[item].at[j];
      }
    }
    folded[block * kThreads + thread] = fold;
  }
};

inline int64_t NumWords(const std::byte* place, int64_t bytes) {
  LATENTD_CHECK(reinterpret_cast<uintptr_t>(place) % kWordsBytes == 0);
  LATENTD_CHECK(bytes >= 0 && bytes % kWordsBytes == 0);
  return bytes / kWordsBytes;
}
inline FillBody MakeFill(std::byte* to, int64_t bytes, uint32_t seed) {
  return {{}, reinterpret_cast<Words*>(to), NumWords(to, bytes), seed};
}
inline CopyBody MakeCopy(const std::byte* from, std::byte* to, int64_t bytes) {
  LATENTD_CHECK(NumWords(from, bytes) == NumWords(to, bytes));
  return {
      {}, reinterpret_cast<const Words*>(from), reinterpret_cast<Words*>(to), NumWords(to, bytes)};
}
// Eight blocks fill a processor's 2048 threads.
inline int64_t ReadThreads(int num_processors) {
  return int64_t{8} * num_processors * kTrafficThreads;
}
inline ReadBody MakeRead(const std::byte* from, int64_t bytes, std::byte* folded,
                         int num_processors) {
  return {{},
          reinterpret_cast<const Words*>(from),
          NumWords(from, bytes),
          ReadThreads(num_processors) / kTrafficThreads,
          reinterpret_cast<uint32_t*>(folded)};
}

}  // namespace latentd::cuda
