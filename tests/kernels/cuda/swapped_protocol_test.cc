// As decode_protocol_test.cc, of a thread block in exchanged roles: its ring of chunks, and the
// numbers of the columns.
#include <catch2/catch.hpp>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cuda/swapped_layout.h"
#include "tests/kernels/cuda/barrier_machine.h"

namespace latentd::cuda {
namespace {

// What one block walks through.
struct Walk {
  std::vector<int> tiles;  // of each item
  int tiles_per_unit;
  int latent_chunks;
  bool has_rope;
  int num_slots;
  int column_warps;  // those whose threads keep columns: 1, or 2 of 64 columns

  int NumChunks() const { return latent_chunks + (has_rope ? 1 : 0); }
};

// Buffers. Each warp of warpgroup 0 writes its own part of the weights and of the largest (and
// sums), each with columns its own part of the rows' numbers, the tile's steps and the unit's
// folds.
constexpr int kQueries = 0;
constexpr int Weights(int warp) { return 1 + warp; }
constexpr int Largest(int warp) { return 1 + kWarpsOfGroup + warp; }
constexpr int Rows(int warp) { return 1 + 2 * kWarpsOfGroup + warp; }
constexpr int Steps(int warp) { return 3 + 2 * kWarpsOfGroup + warp; }
constexpr int Folds(int warp) { return 5 + 2 * kWarpsOfGroup + warp; }
constexpr int Slot(int slot) { return 7 + 2 * kWarpsOfGroup + slot; }

// The program of one warp, step by step in the order of mla_swapped.cu.
class Role {
 public:
  explicit Role(const Walk& walk) : walk_(walk) {}

  Program Producer() {
    uint32_t n = 0;
    for (uint32_t item = 0; item < walk_.tiles.size(); ++item) {
      Add(Kind::kWait, kQueriesEmpty, EmptyParity(item));
      Add(Kind::kCopy, kQueries, item);
      for (int i = 0; i < walk_.tiles[item] * walk_.NumChunks(); ++i, ++n) {
        const RingPlace place = PlaceInRing(n, walk_.num_slots);
        Add(Kind::kWait, StageEmpty(place.stage), EmptyParity(place.use));
        Add(Kind::kCopy, Slot(place.stage), n);
      }
    }
    return program_;
  }

  Program Scorer(int warp) {
    warp_ = warp;
    const SwappedLayout layout(walk_.latent_chunks, 16);
    for (uint32_t item = 0; item < walk_.tiles.size(); ++item) {
      if (HasColumns()) Write(Rows(warp_), item);
      Sync();
      Add(Kind::kWait, kQueriesFull, FullParity(item));
      for (int tile = 0; tile < walk_.tiles[item]; ++tile, ++n_) {
        const bool is_last = tile + 1 == walk_.tiles[item];
        MakeScores(item);
        if (is_last) Add(Kind::kArrive, kQueriesEmpty, 1);
        MakeWeights(item, is_last, EndsUnit(item, tile));
        ReadOfColumns(&Steps, n_);
        Add(Kind::kWait, kWeightsFull, FullParity(n_));
        MultiplyValues(0, layout.NumChunks(0));
        if (EndsUnit(item, tile)) EndUnit();
        Add(Kind::kArrive, kWeightsEmpty, 1);
      }
    }
    return program_;
  }

  Program Multiplier() {
    const SwappedLayout layout(walk_.latent_chunks, 16);
    for (uint32_t item = 0; item < walk_.tiles.size(); ++item) {
      for (int tile = 0; tile < walk_.tiles[item]; ++tile, ++n_) {
        Add(Kind::kWait, kWeightsFull, FullParity(n_));
        ReadOfColumns(&Steps, n_);
        MultiplyValues(layout.FirstChunk(1), layout.NumChunks(1));
        if (EndsUnit(item, tile)) ReadOfColumns(&Folds, n_);
        Add(Kind::kArrive, kWeightsEmpty, 1);
      }
    }
    return program_;
  }

 private:
  void Add(Kind kind, int at, int64_t value) { program_.push_back({kind, at, value}); }
  void Read(const std::vector<int>& buffers, int64_t use) {
    Access(program_, Kind::kBeginRead, Kind::kEndRead, buffers, use);
  }
  void Write(int buffer, int64_t use) {
    Access(program_, Kind::kBeginWrite, Kind::kEndWrite, {buffer}, use);
  }
  void ReadOfColumns(int (*buffer)(int), int64_t use) {
    for (int warp = 0; warp < walk_.column_warps; ++warp) Read({buffer(warp)}, use);
  }
  void ReadLargest(int64_t use) {
    for (int warp = 0; warp < kWarpsOfGroup; ++warp) Read({Largest(warp)}, use);
  }
  void Sync() {
    Add(Kind::kSync, 0, 0);
    Add(Kind::kSynced, 0, ++syncs_);
  }
  bool HasColumns() const { return warp_ < walk_.column_warps; }
  bool EndsUnit(uint32_t item, int tile) const {
    return tile + 1 == walk_.tiles[item] || (tile + 1) % walk_.tiles_per_unit == 0;
  }
  uint32_t ChunkNumber(int chunk) const {
    return n_ * static_cast<uint32_t>(walk_.NumChunks()) + static_cast<uint32_t>(chunk);
  }
  RingPlace PlaceOf(int chunk) const { return PlaceInRing(ChunkNumber(chunk), walk_.num_slots); }
  void WaitFor(int chunk) {
    const RingPlace place = PlaceOf(chunk);
    Add(Kind::kWait, StageFull(place.stage), FullParity(place.use));
  }

  // Products may read until all of them are waited for.
  void BeginReads(int first_chunk, int num_chunks) {
    for (int chunk = first_chunk; chunk < first_chunk + num_chunks; ++chunk) {
      WaitFor(chunk);
      Add(Kind::kBeginRead, Slot(PlaceOf(chunk).stage), ChunkNumber(chunk));
    }
  }
  void EndReads(int first_chunk, int num_chunks) {
    for (int chunk = first_chunk; chunk < first_chunk + num_chunks; ++chunk) {
      Add(Kind::kEndRead, Slot(PlaceOf(chunk).stage), ChunkNumber(chunk));
    }
  }
  void Release(int first_chunk, int num_chunks) {
    for (int chunk = first_chunk; chunk < first_chunk + num_chunks; ++chunk) {
      Add(Kind::kArrive, StageEmpty(PlaceOf(chunk).stage), 1);
    }
  }

  void MakeScores(uint32_t item) {
    Add(Kind::kBeginRead, kQueries, item);
    BeginReads(0, walk_.latent_chunks);
    EndReads(0, walk_.latent_chunks);
    ReadOfColumns(&Rows, item);
    if (walk_.has_rope) {
      BeginReads(walk_.latent_chunks, 1);
      EndReads(walk_.latent_chunks, 1);
      Release(walk_.latent_chunks, 1);
    }
    Add(Kind::kEndRead, kQueries, item);
  }

  void MakeWeights(uint32_t item, bool is_last, bool ends_unit) {
    ReadOfColumns(&Rows, item);
    Write(Largest(warp_), 2 * n_);
    Sync();
    Add(Kind::kWait, kWeightsEmpty, EmptyParity(n_));
    if (HasColumns()) {
      ReadLargest(2 * n_);
      Write(Steps(warp_), n_);
      if (ends_unit) Write(Folds(warp_), n_);
    }
    for (int chunk = 0; chunk < walk_.latent_chunks && is_last; ++chunk) {
      Write(Slot(PlaceOf(chunk).stage), ChunkNumber(chunk));  // slots past the end become zeros
    }
    Sync();
    ReadOfColumns(&Steps, n_);
    Write(Weights(warp_), n_);
    Add(Kind::kArrive, kWeightsFull, 32);
  }

  void MultiplyValues(int first_chunk, int num_chunks) {
    if (num_chunks == 0) return;
    for (int warp = 0; warp < kWarpsOfGroup; ++warp) Add(Kind::kBeginRead, Weights(warp), n_);
    BeginReads(first_chunk, num_chunks);
    for (int warp = 0; warp < kWarpsOfGroup; ++warp) Add(Kind::kEndRead, Weights(warp), n_);
    EndReads(first_chunk, num_chunks);
    Release(first_chunk, num_chunks);
  }

  void EndUnit() {
    Write(Largest(warp_), 2 * n_ + 1);  // sums in their place
    Sync();
    if (HasColumns()) ReadLargest(2 * n_ + 1);
    Sync();
    ReadOfColumns(&Folds, n_);
  }

  const Walk& walk_;
  Program program_;
  int warp_ = 0;
  uint32_t n_ = 0;  // tiles so far
  int64_t syncs_ = 0;
};

Machine RolesOfBlock(const Walk& walk) {
  std::vector<uint32_t> arrivals;
  for (int i = 0; i < NumBarriers(walk.num_slots); ++i) arrivals.push_back(NumSwappedArrivals(i));
  std::vector<int> copy_barriers = {kQueriesFull};
  copy_barriers.resize(static_cast<size_t>(Slot(0)), -1);
  for (int i = 0; i < walk.num_slots; ++i) copy_barriers.push_back(StageFull(i));
  std::vector<Program> programs = {Role(walk).Producer()};
  for (int warp = 0; warp < kWarpsOfGroup; ++warp) {
    programs.push_back(Role(walk).Scorer(warp));
    programs.push_back(Role(walk).Multiplier());
  }
  return Machine(std::move(programs), arrivals, std::move(copy_barriers), {kWarpsOfGroup});
}

TEST_CASE("exchanged roles keep apart and come to an end in any interleaving") {
  std::mt19937 rng(22);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution(low, high)(rng);
  };
  for (int round = 0; round < 300; ++round) {
    Walk walk = {std::vector<int>(static_cast<size_t>(pick(1, 4))),
                 pick(1, 3),
                 pick(1, 5),
                 pick(0, 1) == 1,
                 0,
                 pick(1, 2)};
    for (int& count : walk.tiles) count = pick(1, 6);
    walk.num_slots = pick(walk.NumChunks(), 3 * walk.NumChunks());  // one tile at least
    INFO("round " << round << ", " << walk.NumChunks() << " chunks in " << walk.num_slots);
    RolesOfBlock(walk).Run(rng);
  }
}

}  // namespace
}  // namespace latentd::cuda
