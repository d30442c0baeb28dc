// The model and the requests of the determinism matrix, and a run of them under one setting.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "tests/determinism/record.h"
#include "tests/determinism/settings.h"
#include "tests/engine/model/random_model.h"

namespace latentd {

// Two layers, dense and mixture of experts, blockwise key norm with fewer groups than heads, bf16
// weights but for an fp32 lm_head: bf16 would round most differences of one unit in the last place
// away.
RandomModel MatrixModel();

constexpr int64_t kMostRequests = 64;
// The i-th request of a setting: 0 has a prompt of 201 tokens, every eighth shares two blocks of
// it, the others are short; greedy and seeded draws in turn.
EngineRequest MatrixRequest(int64_t i, const Setting& setting);

// Put between engine and model; plants faults in tests of the matrix itself. Owned by the run.
using WrapExecutor = std::function<std::unique_ptr<Executor>(Executor* inner)>;

// What the run met, so that a setting cannot pass by not happening.
struct RunFacts {
  int64_t most_entries = 0;  // of one forward pass
  int64_t longest_chunk = 0;
  uint64_t preemptions = 0, prefix_hits = 0;
};

// Runs whole settings on one model and compares every request with its solo run. One thread.
class Matrix {
 public:
  explicit Matrix(RandomModel model) : model_(std::move(model)) {}

  // The first difference, with request and position; nothing when all bits are equal.
  std::optional<std::string> Check(const Setting& setting, const WrapExecutor& wrap = {});
  const RunFacts& facts() const { return facts_; }  // of the last Check
  // A digest of all solo answers so far.
  std::string Fingerprint() const;

 private:
  std::vector<Record> Run(const Setting& setting, const std::vector<EngineRequest>& requests,
                          const WrapExecutor& wrap);
  // Alone, whole prompt in one pass, one thread, all the room there is.
  const Record& Solo(int64_t i, const Setting& setting);

  const RandomModel model_;
  std::map<std::array<int64_t, 4>, Record> solo_;  // by request, path, widths and context
  RunFacts facts_;
};

}  // namespace latentd
