// GroupByExpert, a counting sort in three kernels: every chunk of choices counts its experts, one
// block adds up the counts, and every chunk puts its choices in their places. Nothing is counted
// atomically: a thread counts one expert, or those before one choice, in shared memory.
#pragma once

#include <limits>

#include "kernels/cuda/body.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/operators.h"

namespace latentd::cuda {

constexpr int kGroupThreads = 256;

// A chunk's experts in shared memory.
struct ChoiceChunk {
  int32_t experts[kChoiceChunk];
};
// The chunk's choices begin at `first`.
struct ChunkRange {
  int64_t first;
  int count;
};
LATENTD_HD inline ChunkRange ChunkAt(const GroupByExpertArgs& args, int64_t chunk) {
  const int64_t first = chunk * kChoiceChunk;
  const int64_t left = args.experts.rows * args.experts.cols - first;
  return {first, static_cast<int>(left < kChoiceChunk ? left : kChoiceChunk)};
}
LATENTD_HD inline void LoadChunk(const GroupByExpertArgs& args, const ChunkRange& range, int thread,
                                 ChoiceChunk& shared) {
  for (int i = thread; i < range.count; i += kGroupThreads) {
    const int64_t choice = range.first + i, k = args.experts.cols;
    const int32_t expert = RowOf(args.experts, choice / k)[choice % k];
    Require(expert >= 0 && expert < args.num_experts);
    shared.experts[i] = expert;
  }
}
// Of the chunk's first `count` choices, those of `expert`.
LATENTD_HD inline int32_t CountOf(const ChoiceChunk& shared, int32_t expert, int count) {
  int32_t found = 0;
  for (int i = 0; i < count; ++i) found += shared.experts[i] == expert ? 1 : 0;
  return found;
}

// A block for each chunk, which the first of two phases loads.
struct ChunkGrid {
  static constexpr int kThreads = kGroupThreads;
  using Shared = ChoiceChunk;
  struct Thread {};

  GroupByExpertArgs args;

  int64_t NumBlocks() const { return NumChoiceChunks(args.experts.rows * args.experts.cols); }
  LATENTD_HD int NumPhases() const { return 2; }
};

struct CountChoicesBody : ChunkGrid {
  LATENTD_HD void Run(int phase, int64_t chunk, int thread, Thread&, Shared& shared) const {
    const ChunkRange range = ChunkAt(args, chunk);
    if (phase == 0) return LoadChunk(args, range, thread, shared);
    int32_t* counts = args.groups.counts + chunk * args.num_experts;
    for (int e = thread; e < args.num_experts; e += kThreads) {
      counts[e] = CountOf(shared, e, range.count);
    }
  }
};

// Of an expert's counts: those of the chunks before each, in place; then offsets and tiles.
struct PlaceExpertsBody {
  static constexpr int kThreads = kGroupThreads;
  struct Shared {
    int32_t totals[kMaxExperts];
  };
  struct Thread {};

  GroupByExpertArgs args;
  int64_t num_chunks;
  int64_t max_tiles;

  int64_t NumBlocks() const { return 1; }
  LATENTD_HD int NumPhases() const { return 2; }
  LATENTD_HD void Run(int phase, int64_t, int thread, Thread&, Shared& shared) const {
    if (phase == 0) {
      for (int64_t i = thread; i < max_tiles; i += kThreads) args.groups.tiles[i] = {0, 0, 0};
    }
    for (int e = thread; e < args.num_experts; e += kThreads) {
      phase == 0 ? SumChunks(e, shared) : Place(e, shared);
    }
  }

 private:
  LATENTD_HD void SumChunks(int e, Shared& shared) const {
    int32_t sum = 0;
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
      int32_t& count = args.groups.counts[chunk * args.num_experts + e];
      const int32_t of_chunk = count;
      count = sum;
      sum += of_chunk;
    }
    shared.totals[e] = sum;
  }
  LATENTD_HD static int32_t NumTiles(int32_t rows) {
    return static_cast<int32_t>(CeilDiv(rows, kExpertTileRows));
  }
  LATENTD_HD void Place(int e, const Shared& shared) const {
    int32_t offset = 0, tile = 0;
    for (int i = 0; i < e; ++i) {
      offset += shared.totals[i];
      tile += NumTiles(shared.totals[i]);
    }
    const int32_t end = offset + shared.totals[e];
    args.groups.offsets[e] = offset;
    if (e + 1 == args.num_experts) args.groups.offsets[e + 1] = end;
    if (e >= args.num_weighted) return;
    constexpr auto kRows = static_cast<int32_t>(kExpertTileRows);
    for (int32_t row = offset; row < end; row += kRows, ++tile) {
      args.groups.tiles[tile] = {e, row, end - row < kRows ? end - row : kRows};
    }
  }
};

struct PlaceChoicesBody : ChunkGrid {
  LATENTD_HD void Run(int phase, int64_t chunk, int thread, Thread&, Shared& shared) const {
    const ChunkRange range = ChunkAt(args, chunk);
    if (phase == 0) return LoadChunk(args, range, thread, shared);
    for (int i = thread; i < range.count; i += kThreads) {
      const int32_t e = shared.experts[i];
      const int32_t place = args.groups.offsets[e] +
                            args.groups.counts[chunk * args.num_experts + e] +
                            CountOf(shared, e, i);
      const auto choice = static_cast<int32_t>(range.first + i);
      args.groups.places[choice] = place;
      args.groups.choices[place] = choice;
    }
  }
};

// run(body) for each kernel.
template <typename Run>
void WithGroupByExpert(const GroupByExpertArgs& args, const Run& run) {
  const int64_t num_choices = args.experts.rows * args.experts.cols;
  LATENTD_CHECK(args.num_experts >= 1 && args.num_experts <= kMaxExperts);
  LATENTD_CHECK(args.num_weighted >= 0 && args.num_weighted <= args.num_experts);
  LATENTD_CHECK(num_choices <= std::numeric_limits<int32_t>::max());
  run(CountChoicesBody{{args}});
  run(PlaceExpertsBody{args, NumChoiceChunks(num_choices),
                       MaxExpertTiles(num_choices, args.num_weighted)});
  run(PlaceChoicesBody{{args}});
}

}  // namespace latentd::cuda
