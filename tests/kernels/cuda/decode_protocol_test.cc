// The roles of a decode thread block, alone and in a cluster of two, in random interleavings: none
// reads what is not there, none overwrites what another reads, none waits for ever, none reaches a
// block that is not ready or has ended.
#include "kernels/cuda/decode_protocol.h"

#include <catch2/catch.hpp>
#include <random>
#include <utility>
#include <vector>

#include "kernels/cuda/decode_plan.h"
#include "tests/kernels/cuda/barrier_machine.h"

namespace latentd::cuda {
namespace {

// The programs of a block's warps over items of `tiles` tiles each; the same order as in
// mla_decode.cu.
class Roles {
 public:
  Roles(const std::vector<int>& tiles, int num_stages, int cluster, int rank)
      : tiles_(tiles), num_stages_(num_stages), cluster_(cluster), rank_(rank) {}

  std::vector<Program> Programs() const {
    std::vector<Program> roles = {Producer()};
    for (int warp = 0; warp < kWarpsOfGroup; ++warp) {
      roles.push_back(Scorer(warp));
      roles.push_back(Multiplier());
    }
    std::vector<Program> programs(roles.size());
    for (int i = 0; i < NumBarriers(num_stages_); ++i) {
      programs[1].push_back({Kind::kInit, Barrier(i), 0});
    }
    for (size_t i = 0; i < roles.size(); ++i) {
      Meet(programs[i], 1);
      programs[i].insert(programs[i].end(), roles[i].begin(), roles[i].end());
      if (cluster_ > 1) Meet(programs[i], 2);
    }
    return programs;
  }
  // What a copy into each buffer arrives at, in the order of Buffer.
  std::vector<int> CopyBarriers() const {
    std::vector<int> barriers = {Barrier(kQueriesFull)};
    barriers.resize(1 + kWarpsOfGroup, -1);
    for (int stage = 0; stage < num_stages_; ++stage) {
      barriers.resize(barriers.size() + static_cast<size_t>(cluster_), Barrier(StageFull(stage)));
    }
    return barriers;
  }

 private:
  // All warps of all blocks, for the `count`-th time.
  void Meet(Program& program, int count) const {
    program.push_back({Kind::kSync, cluster_, 0});
    program.push_back({Kind::kSynced, cluster_, count});
  }

  int Barrier(int barrier) const { return BarrierOf(rank_, barrier); }
  int BarrierOf(int block, int barrier) const { return block * NumBarriers(num_stages_) + barrier; }

  // Buffers of a block: queries, the 16 rows of P that each warp of warpgroup 0 writes, and of each
  // stage what each block of the cluster copies.
  int Buffer(int block, int buffer) const {
    return block * (1 + kWarpsOfGroup + num_stages_ * cluster_) + buffer;
  }
  int Queries() const { return Buffer(rank_, 0); }
  int Weights(int warp) const { return Buffer(rank_, 1 + warp); }
  int Piece(int block, int stage, int from) const {
    return Buffer(block, 1 + kWarpsOfGroup + stage * cluster_ + from);
  }
  std::vector<int> Stage(int stage) const {
    std::vector<int> pieces;
    for (int from = 0; from < cluster_; ++from) pieces.push_back(Piece(rank_, stage, from));
    return pieces;
  }

  Program Producer() const {
    Program program;
    uint32_t n = 0;
    for (uint32_t item = 0; item < tiles_.size(); ++item) {
      program.push_back({Kind::kWait, Barrier(kQueriesEmpty), EmptyParity(item)});
      program.push_back({Kind::kCopy, Queries(), item});
      for (int tile = 0; tile < tiles_[item]; ++tile, ++n) {
        const auto [stage, use] = PlaceInRing(n, num_stages_);
        program.push_back({Kind::kWait, Barrier(StageEmpty(stage)), EmptyParity(use)});
        program.push_back({Kind::kExpect, Barrier(StageFull(stage)), cluster_});
        for (int block = 0; block < cluster_; ++block) {
          program.push_back({Kind::kSend, Piece(block, stage, rank_), n});
        }
      }
    }
    return program;
  }

  void MultiplyValues(Program& program, int stage, uint32_t n) const {
    std::vector<int> buffers = Stage(stage);
    for (int warp = 0; warp < kWarpsOfGroup; ++warp) buffers.push_back(Weights(warp));
    Access(program, Kind::kBeginRead, Kind::kEndRead, buffers, n);
    program.push_back({Kind::kArrive, Barrier(kWeightsEmpty), 1});
    for (int block = 0; block < cluster_; ++block) {
      program.push_back({Kind::kArrive, BarrierOf(block, StageEmpty(stage)), 1});
    }
  }

  Program Scorer(int warp) const {
    Program program;
    uint32_t n = 0;
    int64_t syncs = 0;
    for (uint32_t item = 0; item < tiles_.size(); ++item) {
      program.push_back({Kind::kWait, Barrier(kQueriesFull), FullParity(item)});
      for (int tile = 0; tile < tiles_[item]; ++tile, ++n) {
        const auto [stage, use] = PlaceInRing(n, num_stages_);
        const bool is_last = tile + 1 == tiles_[item];
        program.push_back({Kind::kWait, Barrier(StageFull(stage)), FullParity(use)});
        if (is_last) {  // slots past the end become zeros
          Access(program, Kind::kBeginWrite, Kind::kEndWrite, Stage(stage), n);
          program.push_back({Kind::kSync, rank_, 0});
          program.push_back({Kind::kSynced, rank_, ++syncs});
        }
        program.push_back({Kind::kBeginRead, Queries(), item});
        Access(program, Kind::kBeginRead, Kind::kEndRead, Stage(stage), n);
        program.push_back({Kind::kEndRead, Queries(), item});
        if (is_last) program.push_back({Kind::kArrive, Barrier(kQueriesEmpty), 1});
        program.push_back({Kind::kWait, Barrier(kWeightsEmpty), EmptyParity(n)});
        Access(program, Kind::kBeginWrite, Kind::kEndWrite, {Weights(warp)}, n);
        program.push_back({Kind::kArrive, Barrier(kWeightsFull), 32});
        program.push_back({Kind::kWait, Barrier(kWeightsFull), FullParity(n)});
        MultiplyValues(program, stage, n);
      }
    }
    return program;
  }

  Program Multiplier() const {
    Program program;
    uint32_t n = 0;
    for (const int count : tiles_) {
      for (int tile = 0; tile < count; ++tile, ++n) {
        const auto [stage, use] = PlaceInRing(n, num_stages_);
        program.push_back({Kind::kWait, Barrier(StageFull(stage)), FullParity(use)});
        program.push_back({Kind::kWait, Barrier(kWeightsFull), FullParity(n)});
        MultiplyValues(program, stage, n);
      }
    }
    return program;
  }

  const std::vector<int>& tiles_;
  int num_stages_, cluster_, rank_;
};

Machine RolesOfCluster(const std::vector<int>& tiles, int num_stages, int cluster) {
  std::vector<Program> programs;
  std::vector<uint32_t> arrivals;
  std::vector<int> copy_barriers;
  for (int rank = 0; rank < cluster; ++rank) {
    const Roles roles(tiles, num_stages, cluster, rank);
    for (Program& program : roles.Programs()) programs.push_back(std::move(program));
    for (int i = 0; i < NumBarriers(num_stages); ++i) arrivals.push_back(NumArrivals(i, cluster));
    for (const int barrier : roles.CopyBarriers()) copy_barriers.push_back(barrier);
  }
  // Of each block warpgroup 0, then all of the cluster.
  std::vector<int> groups(static_cast<size_t>(cluster), kWarpsOfGroup);
  groups.push_back(static_cast<int>(programs.size()));
  return Machine(std::move(programs), arrivals, std::move(copy_barriers), std::move(groups),
                 static_cast<size_t>(cluster));
}

TEST_CASE("in any interleaving the roles keep apart and come to an end") {
  std::mt19937 rng(21);
  for (const int cluster : {1, kClusterCtas}) {
    for (int round = 0; round < 300; ++round) {
      std::vector<int> tiles(std::uniform_int_distribution<size_t>(1, 5)(rng));
      for (int& count : tiles) count = std::uniform_int_distribution(1, 9)(rng);
      const int num_stages = std::uniform_int_distribution(2, 4)(rng);
      INFO("cluster of " << cluster << ", round " << round << ", " << num_stages << " stages");
      RolesOfCluster(tiles, num_stages, cluster).Run(rng);
    }
  }
}

TEST_CASE("the blocks of a cluster copy each chunk of a tile once") {
  for (const int cluster : {1, kClusterCtas}) {
    for (int chunks = 1; chunks <= 9; ++chunks) {
      for (uint32_t n = 0; n < 4; ++n) {
        std::vector<int> copies(static_cast<size_t>(chunks));
        for (int rank = 0; rank < cluster; ++rank) {
          const auto first =
              static_cast<size_t>(FirstChunkCopied(static_cast<uint32_t>(rank), n, cluster));
          for (size_t chunk = first; chunk < copies.size(); chunk += static_cast<size_t>(cluster)) {
            ++copies[chunk];
          }
        }
        REQUIRE(copies == std::vector<int>(static_cast<size_t>(chunks), 1));
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
