// The roles of a thread block of MatrixLinear in random interleavings: none reads what is not
// there, none overwrites what another reads, none waits for ever.
#include <catch2/catch.hpp>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cuda/matrix_linear_layout.h"
#include "tests/kernels/cuda/barrier_machine.h"

namespace latentd::cuda {
namespace {

constexpr int Weights(int stage) { return 2 * stage; }
constexpr int Tokens(int stage) { return 2 * stage + 1; }

// The same steps in the same order as in matrix_linear.cu.
Program CopyWeights(int num_chunks, int num_stages) {
  Program program;
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    const RingPlace place = PlaceInRing(static_cast<uint32_t>(chunk), num_stages);
    program.push_back({Kind::kWait, ChunkEmpty(place.stage), EmptyParity(place.use)});
    program.push_back({Kind::kCopy, Weights(place.stage), chunk});
  }
  return program;
}

Program RoundTokens(int num_chunks, int num_stages, int warp) {
  Program program;
  for (int chunk = warp; chunk < num_chunks; chunk += kTokenWarps) {
    const RingPlace place = PlaceInRing(static_cast<uint32_t>(chunk), num_stages);
    program.push_back({Kind::kWait, ChunkEmpty(place.stage), EmptyParity(place.use)});
    Access(program, Kind::kBeginWrite, Kind::kEndWrite, {Tokens(place.stage)}, chunk);
    program.push_back({Kind::kArrive, ChunkFull(place.stage), 32});
  }
  return program;
}

Program Multiply(int num_chunks, int num_stages) {
  Program program;
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    const RingPlace place = PlaceInRing(static_cast<uint32_t>(chunk), num_stages);
    program.push_back({Kind::kWait, ChunkFull(place.stage), FullParity(place.use)});
    Access(program, Kind::kBeginRead, Kind::kEndRead, {Weights(place.stage), Tokens(place.stage)},
           chunk);
    program.push_back({Kind::kArrive, ChunkEmpty(place.stage), 1});
  }
  return program;
}

Machine RolesOfBlock(int num_chunks, const LinearLayout& layout) {
  std::vector<uint32_t> arrivals;
  std::vector<int> copy_barriers;
  for (int stage = 0; stage < layout.num_stages; ++stage) {
    for (const int barrier : {ChunkFull(stage), ChunkEmpty(stage)}) {
      arrivals.push_back(NumChunkArrivals(barrier, layout.groups));
    }
    copy_barriers.push_back(ChunkFull(stage));  // weights
    copy_barriers.push_back(-1);                // tokens
  }
  std::vector<Program> programs = {CopyWeights(num_chunks, layout.num_stages)};
  for (int warp = 0; warp < kTokenWarps; ++warp) {
    programs.push_back(RoundTokens(num_chunks, layout.num_stages, warp));
  }
  for (int warp = 0; warp < layout.groups * kWarpsOfGroup; ++warp) {
    programs.push_back(Multiply(num_chunks, layout.num_stages));
  }
  return Machine(std::move(programs), arrivals, std::move(copy_barriers), {});
}

TEST_CASE("in any interleaving the roles of a product keep apart and come to an end") {
  std::mt19937 rng(22);
  for (int round = 0; round < 60; ++round) {
    LinearLayout layout(8 << std::uniform_int_distribution(0, 4)(rng));
    if (round % 2 == 0) layout.num_stages = std::uniform_int_distribution(kTokenWarps, 4)(rng);
    const int num_chunks = std::uniform_int_distribution(1, 30)(rng);
    INFO("round " << round << ", " << num_chunks << " chunks, " << layout.num_stages << " stages");
    RolesOfBlock(num_chunks, layout).Run(rng);
  }
}

}  // namespace
}  // namespace latentd::cuda
