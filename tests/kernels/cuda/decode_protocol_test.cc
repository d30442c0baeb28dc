// The roles of a decode thread block in random interleavings: none reads what is not there, none
// overwrites what another reads, none waits for ever.
#include "kernels/cuda/decode_protocol.h"

#include <catch2/catch.hpp>
#include <random>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/barrier_machine.h"

namespace latentd::cuda {
namespace {

constexpr int kQueries = 0;
constexpr int Weights(int warp) { return 1 + warp; }  // a warp of warpgroup 0 writes its 16 rows
constexpr int Stage(int stage) { return 1 + kWarpsOfGroup + stage; }

// The program of one warp over items of `tiles` tiles each; the same order as in mla_decode.cu.
Program Producer(const std::vector<int>& tiles, int num_stages) {
  Program program;
  uint32_t n = 0;
  for (uint32_t item = 0; item < tiles.size(); ++item) {
    program.push_back({Kind::kWait, kQueriesEmpty, EmptyParity(item)});
    program.push_back({Kind::kCopy, kQueries, item});
    for (int tile = 0; tile < tiles[item]; ++tile, ++n) {
      const RingPlace place = PlaceInRing(n, num_stages);
      program.push_back({Kind::kWait, StageEmpty(place.stage), EmptyParity(place.use)});
      program.push_back({Kind::kCopy, Stage(place.stage), n});
    }
  }
  return program;
}

void MultiplyValues(Program& program, int stage, uint32_t n) {
  std::vector<int> buffers = {Stage(stage)};
  for (int warp = 0; warp < kWarpsOfGroup; ++warp) buffers.push_back(Weights(warp));
  Access(program, Kind::kBeginRead, Kind::kEndRead, buffers, n);
  program.push_back({Kind::kArrive, kWeightsEmpty, 1});
  program.push_back({Kind::kArrive, StageEmpty(stage), 1});
}

Program Scorer(const std::vector<int>& tiles, int num_stages, int warp) {
  Program program;
  uint32_t n = 0;
  int64_t syncs = 0;
  for (uint32_t item = 0; item < tiles.size(); ++item) {
    program.push_back({Kind::kWait, kQueriesFull, FullParity(item)});
    for (int tile = 0; tile < tiles[item]; ++tile, ++n) {
      const RingPlace place = PlaceInRing(n, num_stages);
      const bool is_last = tile + 1 == tiles[item];
      program.push_back({Kind::kWait, StageFull(place.stage), FullParity(place.use)});
      if (is_last) {  // slots past the end become zeros
        Access(program, Kind::kBeginWrite, Kind::kEndWrite, {Stage(place.stage)}, n);
        program.push_back({Kind::kSync, 0, 0});
        program.push_back({Kind::kSynced, 0, ++syncs});
      }
      program.push_back({Kind::kBeginRead, kQueries, item});
      Access(program, Kind::kBeginRead, Kind::kEndRead, {Stage(place.stage)}, n);
      program.push_back({Kind::kEndRead, kQueries, item});
      if (is_last) program.push_back({Kind::kArrive, kQueriesEmpty, 1});
      program.push_back({Kind::kWait, kWeightsEmpty, EmptyParity(n)});
      Access(program, Kind::kBeginWrite, Kind::kEndWrite, {Weights(warp)}, n);
      program.push_back({Kind::kArrive, kWeightsFull, 32});
      program.push_back({Kind::kWait, kWeightsFull, FullParity(n)});
      MultiplyValues(program, place.stage, n);
    }
  }
  return program;
}

Program Multiplier(const std::vector<int>& tiles, int num_stages) {
  Program program;
  uint32_t n = 0;
  for (const int count : tiles) {
    for (int tile = 0; tile < count; ++tile, ++n) {
      const RingPlace place = PlaceInRing(n, num_stages);
      program.push_back({Kind::kWait, StageFull(place.stage), FullParity(place.use)});
      program.push_back({Kind::kWait, kWeightsFull, FullParity(n)});
      MultiplyValues(program, place.stage, n);
    }
  }
  return program;
}

Machine RolesOfBlock(const std::vector<int>& tiles, int num_stages) {
  std::vector<uint32_t> arrivals;
  for (int i = 0; i < NumBarriers(num_stages); ++i) arrivals.push_back(NumArrivals(i));
  std::vector<int> copy_barriers = {kQueriesFull};
  copy_barriers.resize(static_cast<size_t>(Stage(0)), -1);
  for (int i = 0; i < num_stages; ++i) copy_barriers.push_back(StageFull(i));
  std::vector<Program> programs = {Producer(tiles, num_stages)};
  for (int warp = 0; warp < kWarpsOfGroup; ++warp) {
    programs.push_back(Scorer(tiles, num_stages, warp));
    programs.push_back(Multiplier(tiles, num_stages));
  }
  return Machine(std::move(programs), arrivals, std::move(copy_barriers), kWarpsOfGroup);
}

TEST_CASE("in any interleaving the roles keep apart and come to an end") {
  std::mt19937 rng(21);
  for (int round = 0; round < 300; ++round) {
    std::vector<int> tiles(std::uniform_int_distribution<size_t>(1, 5)(rng));
    for (int& count : tiles) count = std::uniform_int_distribution(1, 9)(rng);
    const int num_stages = std::uniform_int_distribution(2, 4)(rng);
    INFO("round " << round << ", " << num_stages << " stages");
    RolesOfBlock(tiles, num_stages).Run(rng);
  }
}

}  // namespace
}  // namespace latentd::cuda
