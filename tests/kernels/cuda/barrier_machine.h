// Warps, mbarriers and pieces of shared memory in random interleavings: what the tests of the
// kernels' protocols share. A violation fails the test that runs the machine.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

namespace latentd::cuda {

// As the PTX manual defines it: a phase ends when its arrivals and bytes have all come.
struct Mbarrier {
  uint32_t arrivals = 0;
  uint32_t pending = 0;
  int bytes = 0;  // below zero when some came that nobody expected yet
  uint32_t phase = 0;
  bool is_ready = true;

  bool Passes(uint32_t parity) const { return (phase & 1) != parity; }
  void Arrive(uint32_t count) {
    REQUIRE(pending >= count);
    pending -= count;
    Settle();
  }
  void Settle() {
    if (pending > 0 || bytes != 0) return;
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

enum class Kind {
  kInit,
  kWait,
  kArrive,
  kCopy,
  kExpect,
  kSend,
  kBeginRead,
  kEndRead,
  kBeginWrite,
  kEndWrite,
  kSync,
  kSynced
};

// One step of a role. What `at` and `value` mean: kInit barrier (until then nobody may reach it;
// one without such a step is ready from the start), nothing; kWait barrier, parity; kArrive
// barrier, count; kCopy (TMA, with the arrival that expects it) buffer, use; kExpect (an arrival)
// barrier, bytes; kSend (TMA alone, into any block, of one byte) buffer, use; reads and writes
// buffer, use; kSync and kSynced group, how often it has met.
struct Step {
  Kind kind;
  int at;
  int64_t value;
};
using Program = std::vector<Step>;

inline void Access(Program& program, Kind begin, Kind end, const std::vector<int>& buffers,
                   int64_t use) {
  for (const int buffer : buffers) program.push_back({begin, buffer, use});
  for (const int buffer : buffers) program.push_back({end, buffer, use});
}

class Machine {
 public:
  // arrivals: of each barrier; copy_barriers: of each buffer, what a copy into it arrives at, or
  // −1; groups: of each, how many programs meet at its kSync. Programs and barriers are those of
  // num_blocks thread blocks, one behind the other: a block whose programs have ended is gone.
  Machine(std::vector<Program> programs, const std::vector<uint32_t>& arrivals,
          std::vector<int> copy_barriers, std::vector<int> groups, size_t num_blocks = 1)
      : buffers_(copy_barriers.size()),
        programs_(std::move(programs)),
        copy_barriers_(std::move(copy_barriers)),
        at_(programs_.size()),
        groups_(std::move(groups)),
        syncs_(groups_.size()),
        num_blocks_(num_blocks) {
    for (const uint32_t count : arrivals) barriers_.push_back({count, count, 0, 0});
    for (const Program& program : programs_) {
      for (const Step& step : program) {
        if (step.kind == Kind::kInit) barriers_[static_cast<size_t>(step.at)].is_ready = false;
      }
    }
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
        Take(programs_[next][at_[next]]);
        ++at_[next];
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
      const Mbarrier& barrier = barriers_[static_cast<size_t>(step.at)];
      return !barrier.is_ready || barrier.Passes(static_cast<uint32_t>(step.value));
    }
    const auto group = static_cast<size_t>(step.at);
    return step.kind != Kind::kSynced || syncs_[group] >= step.value * groups_[group];
  }

  bool HasEnded(size_t block) const {
    const size_t count = programs_.size() / num_blocks_;
    for (size_t role = block * count; role < (block + 1) * count; ++role) {
      if (at_[role] < programs_[role].size()) return false;
    }
    return true;
  }
  Mbarrier& Reach(int barrier) {
    const auto i = static_cast<size_t>(barrier);
    INFO("barrier " << barrier << ", of a block that is gone or before it is ready");
    REQUIRE_FALSE(HasEnded(i / (barriers_.size() / num_blocks_)));
    REQUIRE(barriers_[i].is_ready);
    return barriers_[i];
  }

  void Take(const Step& step) {
    INFO("step " << static_cast<int>(step.kind) << " at " << step.at << " use " << step.value);
    Buffer& buffer = buffers_[std::min(static_cast<size_t>(step.at), buffers_.size() - 1)];
    switch (step.kind) {
      case Kind::kInit:
        barriers_[static_cast<size_t>(step.at)].is_ready = true;
        return;
      case Kind::kWait:
        Reach(step.at);
        return;
      case Kind::kSynced:
        return;
      case Kind::kSync:
        ++syncs_[static_cast<size_t>(step.at)];
        return;
      case Kind::kArrive:
        return Reach(step.at).Arrive(static_cast<uint32_t>(step.value));
      case Kind::kCopy:
        Expect(copy_barriers_[static_cast<size_t>(step.at)], 1);
        return BeginCopy(step);
      case Kind::kExpect:
        return Expect(step.at, static_cast<int>(step.value));
      case Kind::kSend:
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
    copies_.push_back({step.at, copy_barriers_[static_cast<size_t>(step.at)]});
  }
  void Expect(int barrier, int bytes) {
    Reach(barrier).bytes += bytes;
    Reach(barrier).Arrive(1);
  }
  void EndCopy(size_t i) {
    const Copy copy = copies_[i];
    copies_.erase(copies_.begin() + static_cast<std::ptrdiff_t>(i));
    --buffers_[static_cast<size_t>(copy.buffer)].writers;
    Reach(copy.barrier).bytes -= 1;
    Reach(copy.barrier).Settle();
  }

  std::vector<Buffer> buffers_;
  std::vector<Mbarrier> barriers_;
  std::vector<Program> programs_;
  std::vector<int> copy_barriers_;
  std::vector<size_t> at_;
  std::vector<Copy> copies_;
  std::vector<int> groups_;
  std::vector<int64_t> syncs_;
  size_t num_blocks_;
};

}  // namespace latentd::cuda
