// Sequences over block tables of their own, run on an executor in whatever portions a test wants.
#pragma once

#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cache/block_pool.h"
#include "engine/executor.h"
#include "engine/model/config.h"

namespace latentd {

struct StepRunner {
  struct Sequence {
    std::vector<uint32_t> ids, table;
    int64_t computed = 0;
    std::vector<std::vector<float>> logits;
    Width width = {};  // full
  };

  Sequence NewSequence(std::vector<uint32_t> ids, Width width = {}) {
    Sequence s{std::move(ids), {}, 0, {}, width};
    for (size_t i = 0; i < (s.ids.size() + 63) / 64; ++i) s.table.push_back(*blocks->Allocate());
    return s;
  }

  // The next `count` tokens of a sequence.
  static PlanEntry EntryOf(const Sequence& s, int64_t count) {
    PlanEntry entry;
    entry.first_position = s.computed;
    entry.token_ids = {s.ids.data() + s.computed, static_cast<size_t>(count)};
    entry.block_table = s.table;
    entry.width_q = s.width.q;
    entry.width_kv = s.width.kv;
    return entry;
  }

  void Step(Executor* executor, const std::vector<std::pair<Sequence*, int64_t>>& portions) {
    StepPlan plan;
    for (const auto& [s, count] : portions) plan.entries.push_back(EntryOf(*s, count));
    std::vector<EntryOutcome> outcomes;
    executor->Run(
        plan,
        [&](size_t entry, int64_t, std::span<float> row) {
          portions[entry].first->logits.emplace_back(row.begin(), row.end());
        },
        &outcomes);
    for (const auto& [s, count] : portions) s->computed += count;
  }

  std::unique_ptr<BlockPool> blocks;
};

inline void RequireSameBits(const std::vector<std::vector<float>>& got,
                            const std::vector<std::vector<float>>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t t = 0; t < got.size(); ++t) {
    CAPTURE(t);
    REQUIRE(std::memcmp(got[t].data(), expected[t].data(), got[t].size() * sizeof(float)) == 0);
  }
}

}  // namespace latentd
