#include <algorithm>
#include <tuple>

#include "engine/scheduler/impl.h"

namespace latentd {
namespace {

int64_t BlocksFor(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

// Leading tokens that a hit may cover: not the last known one, whose logits are wanted, nor any
// other position whose row is wanted and was not delivered before.
int64_t MaxHitTokens(const Sequence& s) {
  return std::min(s.known() - 1, std::max(s.spec.first_logits_position, s.high_water));
}

}  // namespace

Sequence* Scheduler::Impl::NextWaiting() {
  while (!waiting.empty()) {
    Sequence& s = **waiting.begin();
    if (!s.cancelled()) return &s;
    End(s);  // takes it out of waiting
    Explain("sequence ", s.spec.id, ": cancelled");
  }
  return nullptr;
}

bool Scheduler::Impl::Admit(Sequence& s, const StepBudget& budget, int64_t min_tokens) {
  if (static_cast<int64_t>(running.size()) >= options.max_num_seqs) return false;
  ChooseWidth(s);
  LookUp(s);
  const auto num_hits = static_cast<int64_t>(hits.size());
  if (budget.Fit(num_hits * kBlockTokens, 1, min_tokens) == 0) return false;
  if (LeaderComputes(s)) {
    Explain("sequence ", s.spec.id, ": waits for a prefix that is being computed");
    return false;
  }
  // The known tokens plus one block, but never more than it can ever use.
  const int64_t num_blocks = std::min(BlocksFor(s.known()) + 1, BlocksFor(s.max_positions()));
  const int64_t num_new = num_blocks - num_hits;
  const int64_t available = Available(s.cls);
  if (num_new > available && num_new > available + HeldByPaused(s.cls)) {
    Explain("sequence ", s.spec.id, ": needs ", num_new, " blocks, ", available, " are free");
    return false;
  }
  while (num_new > Available(s.cls) && !paused.empty()) Preempt(*paused.back());
  if (num_new > Available(s.cls) || !TakeBlocks(s, num_blocks)) return false;

  waiting.erase(&s);
  InsertByRank(running, &s);
  s.state = SequenceState::kRunning;
  if (!s.started) {
    s.started = true;
    --num_not_started;
    counters.prefix_queries += static_cast<uint64_t>(s.prompt_tokens);
    counters.prefix_hits += static_cast<uint64_t>(s.computed);
    s.tokens.reserve(static_cast<size_t>(s.max_tokens));  // decoding never allocates
    s.table.reserve(static_cast<size_t>(BlocksFor(s.max_positions())));
    s.keys.reserve(s.table.capacity());
  }
  Explain("sequence ", s.spec.id, ": admitted with ", num_blocks, " blocks, ", num_hits, " reused");
  return true;
}

void Scheduler::Impl::ChooseWidth(Sequence& s) {
  if (!s.spec.width_by_policy || s.started || options.width_ladder.empty()) return;
  const Ranks width = PolicyWidth();
  if (width == Ranks(s.spec.width_q, s.spec.width_kv)) return;
  std::tie(s.spec.width_q, s.spec.width_kv) = width;
  s.cls = pool->shape().ClassOf(s.spec.width_kv);
  s.keys.clear();  // they name the width
}

Ranks Scheduler::Impl::PolicyWidth() const {
  constexpr double kShares[] = {0.80, 0.90, 0.95};
  double pages = 0;  // that blocks in use fill
  for (size_t cls = 0; cls < pool->num_classes(); ++cls) {
    const int64_t held = pool->num_allocated(cls) - index.num_reusable(cls);
    pages += static_cast<double>(held) / static_cast<double>(pool->shape().blocks_per_page(cls));
  }
  const double share = pages / static_cast<double>(pool->num_pages());
  size_t step = 0;
  for (const double limit : kShares) step += share >= limit ? 1 : 0;
  return options.width_ladder[std::min(step, options.width_ladder.size() - 1)];
}

void Scheduler::Impl::LookUp(Sequence& s) {
  hits.clear();
  if (!options.prefix_reuse) return;
  const int64_t max_hits = MaxHitTokens(s) / kBlockTokens;
  for (int64_t i = 0; i < max_hits; ++i) {
    const auto granule = index.Find(KeyOf(s, i));
    if (!granule) return;
    hits.push_back(*granule);
  }
}

// Choices of one request arrive together: the first computes the prompt, the others wait for its
// blocks rather than compute the same. The leader ranks better and is not paused, so it does
// progress.
bool Scheduler::Impl::LeaderComputes(const Sequence& s) const {
  const size_t missing = hits.size();
  const auto end = static_cast<int64_t>(missing + 1) * kBlockTokens;
  if (!options.prefix_reuse || end > MaxHitTokens(s)) return false;
  return std::any_of(running.begin(), running.end(), [&](const Sequence* leader) {
    return leader->rank < s.rank && leader->computed < end && leader->known() >= end &&
           leader->keys.size() > missing && leader->keys[missing] == s.keys[missing];
  });
}

// Free now, or reusable and not among the hits: hits have the class of the sequence.
int64_t Scheduler::Impl::Available(size_t cls) const {
  const auto unreferenced = [this](uint32_t granule) { return pool->ref_count(granule) == 1; };
  const int64_t reused = std::count_if(hits.begin(), hits.end(), unreferenced);
  return index.NumAvailable(cls) - reused;
}

bool Scheduler::Impl::TakeBlocks(Sequence& s, int64_t num_blocks) {
  for (uint32_t granule : hits) {
    index.Acquire(granule);
    s.table.push_back(granule);
  }
  while (s.num_blocks() < num_blocks) {
    const auto granule = index.Allocate(s.cls);
    if (!granule) {
      ReleaseBlocks(s);
      return false;
    }
    s.table.push_back(*granule);
  }
  s.published = static_cast<int64_t>(hits.size());
  s.computed = s.published * kBlockTokens;
  s.high_water = std::max(s.high_water, s.computed);
  return true;
}

const Hash128& Scheduler::Impl::KeyOf(Sequence& s, int64_t block_idx) {
  while (static_cast<int64_t>(s.keys.size()) <= block_idx) {
    const Hash128 salt = {s.spec.tenant_salt[0], s.spec.tenant_salt[1]};
    const Hash128 fingerprint = {options.model_fingerprint[0], options.model_fingerprint[1]};
    const Hash128 parent = s.keys.empty()
                               ? index.RootKey(s.spec.width_q, s.spec.width_kv, fingerprint, salt)
                               : s.keys.back();
    const auto first = s.keys.size() * kBlockTokens;
    s.keys.push_back(index.BlockKey(parent, std::span(s.tokens).subspan(first, kBlockTokens)));
  }
  return s.keys[static_cast<size_t>(block_idx)];
}

}  // namespace latentd
