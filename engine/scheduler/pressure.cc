#include <algorithm>

#include "engine/scheduler/impl.h"
#include "kernels/core/check.h"

namespace latentd {

// From the best rank on. Victims come from the other end, so no index shifts but that of one which
// preempts itself; and everything that still runs afterwards has its blocks before anything is
// planned.
void Scheduler::Impl::GrowRunning() {
  for (size_t i = 0; i < running.size();) {
    Sequence& s = *running[i];
    if (Grow(s) || s.state == SequenceState::kRunning) ++i;
  }
}

// False if no block is to be had: s was preempted, or runs alone and has to wait.
bool Scheduler::Impl::Grow(Sequence& s) {
  while (!s.has_room()) {
    if (const auto granule = index.Allocate(s.cls)) {
      s.table.push_back(*granule);
      continue;
    }
    Sequence* victim = Victim();
    if (victim == nullptr) return false;
    Preempt(*victim);
    if (victim == &s) return false;
  }
  return true;
}

// What preempting every paused sequence would add to Available(cls). A block counts that they alone
// hold; a page of another class, if those and reusable blocks are all that it has.
int64_t Scheduler::Impl::HeldByPaused(size_t cls) {
  held.clear();
  for (const Sequence* p : paused) held.insert(held.end(), p->table.begin(), p->table.end());
  std::sort(held.begin(), held.end());
  int64_t sum = 0;
  for (size_t i = 0; i < held.size();) {
    const uint32_t page = pool->PageOf(held[i]);
    uint32_t num_freed = 0;
    while (i < held.size() && pool->PageOf(held[i]) == page) {
      const uint32_t granule = held[i];
      uint32_t holders = index.Contains(granule) ? 1 : 0;
      for (; i < held.size() && held[i] == granule; ++i) ++holders;
      const bool is_hit = std::find(hits.begin(), hits.end(), granule) != hits.end();
      num_freed += holders == pool->ref_count(granule) && !is_hit ? 1 : 0;
    }
    if (pool->ClassOfPage(page) == cls) {
      sum += num_freed;
    } else if (num_freed + index.NumReusableIn(page) == pool->UsedOfPage(page)) {
      sum += pool->shape().blocks_per_page(cls);
    }
  }
  return sum;
}

// The newest of the paused, else the worst rank that runs, but never the best.
Sequence* Scheduler::Impl::Victim() const {
  if (!paused.empty()) return paused.back();
  return running.size() > 1 ? running.back() : nullptr;
}

void Scheduler::Impl::Preempt(Sequence& s) {
  LATENTD_CHECK(s.state == SequenceState::kRunning && !s.in_step);
  RemoveByRank(s.paused ? paused : running, &s);
  Explain("sequence ", s.spec.id, ": preempted, gives up ", s.num_blocks(), " blocks");
  ReleaseBlocks(s);
  s.state = SequenceState::kWaiting;
  if (!s.paused) waiting.insert(&s);
  ++counters.preemptions;
}

// From the last block on: of a kept prefix the far end is evicted first.
void Scheduler::Impl::ReleaseBlocks(Sequence& s) {
  while (!s.table.empty()) {
    index.Release(s.table.back());
    s.table.pop_back();
  }
  s.computed = 0;
  s.published = 0;
}

// No step is in flight: a block that another sequence published first may take this one's place.
void Scheduler::Impl::Publish(Sequence& s) {
  if (!options.prefix_reuse) return;
  const Hash128 salt = {s.spec.tenant_salt[0], s.spec.tenant_salt[1]};
  while ((s.published + 1) * kBlockTokens <= s.computed) {
    uint32_t& granule = s.table[static_cast<size_t>(s.published)];
    granule = index.Publish(KeyOf(s, s.published), salt, granule);
    ++s.published;
  }
}

}  // namespace latentd
