// The roles of a decode thread block in random interleavings: none reads what is not there, none
// overwrites what another reads, none waits for ever.
#include "kernels/cuda/decode_protocol.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

namespace latentd::cuda {
namespace {

// As the PTX manual defines it: a phase ends when its arrivals and bytes have all come.
struct Mbarrier {
  uint32_t arrivals = 0;
  uint32_t pending = 0;
  int bytes = 0;
  uint32_t phase = 0;

  bool Passes(uint32_t parity) const { return (phase & 1) != parity; }
  void Arrive(uint32_t count) {
    REQUIRE(pending >= count);
    pending -= count;
    Settle();
  }
  void Settle() {
    if (pending > 0 || bytes > 0) return;
    pending = arrivals;
    ++phase;
  }
};

// A piece of shared memory: the use whose data it holds, and who is at it.
struct Buffer {
  int64_t holds = -1;
  int readers = 0;
  int writers = 0;
};

constexpr int kQueries = 0;
constexpr int Weights(int warp) { return 1 + warp; }  // a warp of warpgroup 0 writes its 16 rows
constexpr int Stage(int stage) { return 1 + kWarpsOfGroup + stage; }

enum class Kind {
  kWait,
  kArrive,
  kCopy,
  kBeginRead,
  kEndRead,
  kBeginWrite,
  kEndWrite,
  kSync,
  kSynced
};

// One step of a role. What `at` and `value` mean: kWait barrier, parity; kArrive barrier, count;
// kCopy (TMA, with the arrival that expects it) buffer, use; reads and writes buffer, use; kSync
// and kSynced nothing, how often warpgroup 0 has met.
struct Step {
  Kind kind;
  int at;
  int64_t value;
};
using Program = std::vector<Step>;

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

void Access(Program& program, Kind begin, Kind end, const std::vector<int>& buffers, int64_t use) {
  for (const int buffer : buffers) program.push_back({begin, buffer, use});
  for (const int buffer : buffers) program.push_back({end, buffer, use});
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

class Machine {
 public:
  Machine(const std::vector<int>& tiles, int num_stages) : buffers_(Stage(num_stages)) {
    for (int i = 0; i < NumBarriers(num_stages); ++i) {
      barriers_.push_back({NumArrivals(i), NumArrivals(i), 0, 0});
    }
    programs_.push_back(Producer(tiles, num_stages));
    for (int warp = 0; warp < kWarpsOfGroup; ++warp) {
      programs_.push_back(Scorer(tiles, num_stages, warp));
      programs_.push_back(Multiplier(tiles, num_stages));
    }
    at_.resize(programs_.size());
  }

  // Some roles are much slower than others, differently in each run.
  void Run(std::mt19937& rng) {
    std::vector<double> speeds(programs_.size() + 1);
    for (double& speed : speeds) speed = std::exp(std::uniform_real_distribution(-4.0, 0.0)(rng));
    while (true) {
      std::vector<double> odds(speeds);
      bool is_done = copies_.empty();
      for (size_t role = 0; role < programs_.size(); ++role) {
        if (at_[role] < programs_[role].size()) is_done = false;
        if (!CanStep(role)) odds[role] = 0;
      }
      if (copies_.empty()) odds.back() = 0;
      if (is_done) return;
      INFO("all roles wait for ever");
      REQUIRE(std::any_of(odds.begin(), odds.end(), [](double odd) { return odd > 0; }));
      const size_t next = std::discrete_distribution<size_t>(odds.begin(), odds.end())(rng);
      if (next < programs_.size()) {
        Take(programs_[next][at_[next]++]);
      } else {
        EndCopy(std::uniform_int_distribution<size_t>(0, copies_.size() - 1)(rng));
      }
    }
  }

 private:
  struct Copy {
    int buffer;
    int barrier;
  };

  bool CanStep(size_t role) const {
    if (at_[role] == programs_[role].size()) return false;
    const Step& step = programs_[role][at_[role]];
    if (step.kind == Kind::kWait) {
      return barriers_[static_cast<size_t>(step.at)].Passes(static_cast<uint32_t>(step.value));
    }
    return step.kind != Kind::kSynced || syncs_ >= step.value * kWarpsOfGroup;
  }

  void Take(const Step& step) {
    INFO("step " << static_cast<int>(step.kind) << " at " << step.at << " use " << step.value);
    Buffer& buffer = buffers_[std::min(static_cast<size_t>(step.at), buffers_.size() - 1)];
    switch (step.kind) {
      case Kind::kWait:
      case Kind::kSynced:
        return;
      case Kind::kSync:
        ++syncs_;
        return;
      case Kind::kArrive:
        return barriers_[static_cast<size_t>(step.at)].Arrive(static_cast<uint32_t>(step.value));
      case Kind::kCopy:
        return BeginCopy(step);
      case Kind::kBeginRead:
        REQUIRE(buffer.writers == 0);
        REQUIRE(buffer.holds == step.value);
        ++buffer.readers;
        return;
      case Kind::kEndRead:
        --buffer.readers;
        return;
      case Kind::kBeginWrite:
        REQUIRE(buffer.readers == 0);
        ++buffer.writers;
        return;
      case Kind::kEndWrite:
        --buffer.writers;
        buffer.holds = step.value;
        return;
    }
  }

  void BeginCopy(const Step& step) {
    Buffer& buffer = buffers_[static_cast<size_t>(step.at)];
    REQUIRE(buffer.readers == 0);
    REQUIRE(buffer.writers == 0);
    ++buffer.writers;
    buffer.holds = step.value;
    const int barrier = step.at == kQueries ? kQueriesFull : StageFull(step.at - Stage(0));
    barriers_[static_cast<size_t>(barrier)].bytes += 1;
    barriers_[static_cast<size_t>(barrier)].Arrive(1);
    copies_.push_back({step.at, barrier});
  }
  void EndCopy(size_t i) {
    const Copy copy = copies_[i];
    copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(i));
    --buffers_[static_cast<size_t>(copy.buffer)].writers;
    barriers_[static_cast<size_t>(copy.barrier)].bytes -= 1;
    barriers_[static_cast<size_t>(copy.barrier)].Settle();
  }

  std::vector<Buffer> buffers_;
  std::vector<Mbarrier> barriers_;
  std::vector<Program> programs_;
  std::vector<size_t> at_;
  std::vector<Copy> copies_;
  int64_t syncs_ = 0;
};

TEST_CASE("in any interleaving the roles keep apart and come to an end") {
  std::mt19937 rng(21);
  for (int round = 0; round < 300; ++round) {
    std::vector<int> tiles(std::uniform_int_distribution<size_t>(1, 5)(rng));
    for (int& count : tiles) count = std::uniform_int_distribution(1, 9)(rng);
    const int num_stages = std::uniform_int_distribution(2, 4)(rng);
    INFO("round " << round << ", " << num_stages << " stages");
    Machine(tiles, num_stages).Run(rng);
  }
}

}  // namespace
}  // namespace latentd::cuda
