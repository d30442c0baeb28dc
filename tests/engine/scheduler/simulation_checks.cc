#include <algorithm>
#include <unordered_map>

#include "tests/engine/scheduler/simulation.h"

namespace latentd {
namespace {

// Term by term, unlike the scheduler's closed form.
double EstimateUs(const CostModel& cost, int64_t first_position, int64_t num_tokens) {
  double us = 0;
  for (int64_t i = 0; i < num_tokens; ++i) {
    us += cost.token_us + cost.position_us * static_cast<double>(first_position + i);
  }
  return us;
}

}  // namespace

Simulation::Held Simulation::Holding() const {
  Held held;
  for (const auto& [id, live] : live_) {
    if (!scheduler_->BlockTable(id).empty()) held.insert(id);
  }
  return held;
}

// Exactly those whose time has come are reported, and they are gone.
void Simulation::CheckOverdue(const StepPlan& plan) {
  const TimePoint now = clock_.Now();
  const auto take = [this](SequenceId id) {
    Require(!scheduler_->Contains(id), "what is overdue is removed");
    Require(live_.erase(id) == 1, "only live sequences are overdue, once");
  };
  for (SequenceId id : plan.expired) {
    ++counts_.expired;
    Require(live_.contains(id) && live_.at(id).spec.deadline <= now, "expired in time");
    take(id);
  }
  for (SequenceId id : plan.stalled) {
    ++counts_.stalled;
    Require(live_.contains(id), "stalled is live");
    Require(live_.at(id).paused && live_.at(id).stalls_at <= now, "stalled in time");
    take(id);
  }
  bool any_flagged = false;
  std::optional<TimePoint> wakeup;
  for (const auto& [id, live] : live_) {
    any_flagged |= live.flagged();
    if (live.ended || live.flagged()) continue;
    Require(!live.spec.deadline || *live.spec.deadline > now, "what expired is reported");
    Require(!live.paused || live.stalls_at > now, "what stalled is reported");
    if (live.spec.deadline)
      wakeup = std::min(wakeup.value_or(*live.spec.deadline), *live.spec.deadline);
    if (live.paused) wakeup = std::min(wakeup.value_or(live.stalls_at), live.stalls_at);
  }
  Require(any_flagged || scheduler_->NextWakeup() == wakeup, "the next wake-up is the first timer");
}

void Simulation::CheckEntries(const StepPlan& plan, const Held& held_before) {
  std::set<SequenceId> planned;
  std::set<uint32_t> written;
  for (const PlanEntry& entry : plan.entries) {
    Require(planned.insert(entry.sequence).second, "one entry a sequence");
    Require(live_.contains(entry.sequence), "only live sequences are planned");
    CheckEntry(entry, held_before.contains(entry.sequence));
    const int64_t last = entry.first_position + entry.num_tokens() - 1;
    Require(static_cast<int64_t>(entry.block_table.size()) > last / kBlockTokens, "table covers");
    for (int64_t b = entry.first_position / kBlockTokens; b <= last / kBlockTokens; ++b) {
      const uint32_t granule = entry.block_table[static_cast<size_t>(b)];
      Require(pool_->ref_count(granule) == 1, "a block that is written has one owner");
      Require(written.insert(granule).second, "no block is written by two entries");
    }
  }
}

void Simulation::CheckEntry(const PlanEntry& entry, bool held_before) {
  Live& live = live_.at(entry.sequence);
  Require(!live.paused, "nothing paused is planned");
  Require(!live.ended && !live.flagged(), "nothing cancelled is planned");
  if (!live.width_settled) SettleWidth(live, entry);
  // A refused allocation can preempt a sequence for which there is room again in the same plan; so
  // can one that needs a page, for which the sequence's blocks were not enough; and with reuse it
  // may need fewer new blocks than it gave up. It may then even stand further than before: another
  // sequence can have computed more of the same prefix.
  const bool may_come_back =
      fault_probability_ > 0 || pool_->num_classes() > 1 || options_.prefix_reuse;
  const bool came_back = may_come_back && entry.first_position != live.computed;
  if (!held_before || came_back) {  // admitted now: what precedes the entry is a prefix hit
    const int64_t hit = entry.first_position;
    Require(hit % kBlockTokens == 0, "hits are whole blocks");
    Require(options_.prefix_reuse || hit == 0, "no hits when reuse is off");
    Require(hit < live.known(), "a hit leaves the last known token");
    Require(hit <= std::max(live.spec.first_logits_position, live.high_water),
            "a hit leaves positions whose rows are wanted");
    live.computed = hit;
    live.high_water = std::max(live.high_water, hit);
    counts_.hit_tokens += hit;
  }
  Require(entry.first_position == live.computed, "the entry follows what is computed");
  Require(entry.num_tokens() >= 1, "an entry has tokens");
  const auto first = live.tokens.begin() + entry.first_position;
  Require(entry.first_position + entry.num_tokens() <= live.known() &&
              std::equal(entry.token_ids.begin(), entry.token_ids.end(), first),
          "the entry's tokens are the sequence's");
  Require(entry.first_logits_position == std::max(live.spec.first_logits_position, live.high_water),
          "rows are wanted that were not delivered");
  Require(entry.width_q == live.spec.width_q && entry.width_kv == live.spec.width_kv, "width");
  Require(entry.cancelled == live.spec.cancelled, "cancel flag");
  const auto table = scheduler_->BlockTable(entry.sequence);
  Require(
      std::equal(table.begin(), table.end(), entry.block_table.begin(), entry.block_table.end()),
      "the plan has the sequence's table");
}

void Simulation::CheckBudgets(const StepPlan& plan, const Held& held_before) {
  Require(static_cast<int64_t>(plan.entries.size()) <= options_.max_num_seqs,
          "sequences in a step");
  int64_t tokens = 0;
  const CostModel now = scheduler_->stats().cost;
  auto us = static_cast<double>(options_.step_us);
  // The sums differ in their order: a few hundred terms, each rounded to 2⁻⁵³ of a budget at most.
  const double rounding_us = 1e-12 * us;
  bool any_prefill = false;
  for (const PlanEntry& entry : plan.entries) {
    const Live& live = live_.at(entry.sequence);
    const bool decode = held_before.contains(entry.sequence) && entry.num_tokens() == 1 &&
                        entry.first_position >= live.prompt_tokens &&
                        entry.first_position + 1 == live.known();
    Require(!decode || !any_prefill, "decodes come first");
    const bool may_exceed = decode ? tokens == 0 : !any_prefill;
    const double cost = EstimateUs(now, entry.first_position, entry.num_tokens());
    Require(cost <= us + rounding_us || (may_exceed && entry.num_tokens() == 1), "time budget");
    any_prefill |= !decode;
    us -= cost;
    tokens += entry.num_tokens();
  }
  Require(tokens <= options_.max_num_batched_tokens, "token budget");
}

// Who lost its blocks in the plan, though it was not cancelled: paused ones first, then the worst
// rank.
void Simulation::CheckPreemptions(const Held& held_before, const Held& held_after) {
  std::optional<std::pair<int64_t, uint64_t>> best_victim, worst_survivor;
  bool paused_survivor = false;
  for (SequenceId id : held_before) {
    const auto it = live_.find(id);
    if (it == live_.end()) continue;  // overdue
    Live& live = it->second;
    if (held_after.contains(id)) {
      paused_survivor |= live.paused;
      if (!live.paused && (!worst_survivor || live.rank > *worst_survivor))
        worst_survivor = live.rank;
      continue;
    }
    live.computed = 0;
    if (live.flagged()) continue;
    if (!live.paused && (!best_victim || live.rank < *best_victim)) best_victim = live.rank;
  }
  if (!best_victim) return;
  Require(!paused_survivor, "paused sequences are the first victims");
  Require(worst_survivor.has_value(), "the best of the running is never preempted");
  Require(*worst_survivor < *best_victim, "the worst rank is preempted");
}

// Nobody overtakes: whoever was admitted ranks before all that still wait.
void Simulation::CheckAdmissions(const Held& held_before, const Held& held_after) {
  std::optional<std::pair<int64_t, uint64_t>> best_waiting;
  for (const auto& [id, live] : live_) {
    if (held_after.contains(id) || live.paused || live.ended || live.flagged()) continue;
    if (!best_waiting || live.rank < *best_waiting) best_waiting = live.rank;
  }
  for (SequenceId id : held_after) {
    if (held_before.contains(id)) continue;
    Require(!best_waiting || live_.at(id).rank < *best_waiting, "admission follows the rank");
  }
}

// Where there is work there is a step; the best that runs, and every decode, has its turn. Decodes
// left out wait for those left out longer, at most all others twice over, as prefills may take
// every other slot.
void Simulation::CheckProgress(const StepPlan& plan, const Held& held_after) {
  if (fault_probability_ > 0) return;  // a refused block delays
  std::set<SequenceId> planned;
  for (const PlanEntry& entry : plan.entries) planned.insert(entry.sequence);
  most_held_ = std::max(most_held_, held_after.size());
  const Live* best = nullptr;
  bool any_work = false, awaited = false;
  for (const auto& [id, live] : live_) {
    if (live.paused || live.flagged()) continue;
    awaited |= live.sampled.has_value();  // holds blocks that others may need until its token comes
    any_work |= live.has_work();
    if (!live.has_work() || !held_after.contains(id)) continue;
    if (best == nullptr || live.rank < best->rank) best = &live;
  }
  Require(!any_work || awaited || !plan.empty(), "where there is work there is a step");
  for (auto& [id, live] : live_) {
    const bool decodes = live.computed + 1 == live.known() && live.computed >= live.prompt_tokens;
    const bool due =
        !live.paused && live.has_work() && held_after.contains(id) && (decodes || &live == best);
    live.plans_left_out = due && !planned.contains(id) ? live.plans_left_out + 1 : 0;
    Require(live.plans_left_out <= 2 * static_cast<int64_t>(most_held_) + 2,
            "the best and the decodes have their turn");
  }
}

std::vector<uint32_t> Simulation::WrittenByCancelled(const StepPlan& plan,
                                                     const std::vector<bool>& cancelled) const {
  std::vector<uint32_t> granules;
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    if (!cancelled[i]) continue;
    const PlanEntry& entry = plan.entries[i];
    const int64_t last = entry.first_position + entry.num_tokens() - 1;
    for (int64_t b = entry.first_position / kBlockTokens; b <= last / kBlockTokens; ++b) {
      granules.push_back(entry.block_table[static_cast<size_t>(b)]);
    }
  }
  return granules;
}

// Every reference is accounted for by a live sequence's table or by the index.
void Simulation::CheckBlocks() {
  std::vector<uint32_t> references(static_cast<size_t>(pool_->num_blocks()), 0);
  for (const auto& [id, live] : live_) {
    const auto table = scheduler_->BlockTable(id);
    Require(table.empty() || !live.ended, "what ended holds no block");
    Require(static_cast<int64_t>(table.size()) * kBlockTokens < live.max_tokens + kBlockTokens,
            "no more blocks than can be used");
    for (uint32_t granule : table) {
      const BlockLayout& layout = pool_->layout(pool_->ClassOfPage(pool_->PageOf(granule)));
      Require(pool_->num_classes() == 1 || layout.row_latent == (live.spec.width_kv + 63) / 64 * 64,
              "a sequence has blocks of its width's class");
      ++references[pool_->IndexOf(granule)];
    }
  }
  const PrefixIndex& index = scheduler_->prefix_index();
  int64_t num_reusable = 0;
  std::vector<bool> used(references.size());
  for (size_t i = 0; i < references.size(); ++i) {
    const bool allocated = pool_->IsAllocated(i);
    const bool known = allocated && index.Contains(pool_->GranuleOf(i));
    num_reusable += known && references[i] == 0 ? 1 : 0;
    used[i] = known || references[i] > 0;
    Require(allocated == used[i], "unreferenced blocks are free");
    Require(!allocated || pool_->ref_count(pool_->GranuleOf(i)) == references[i] + (known ? 1 : 0),
            "references add up");
  }
  Require(index.num_reusable() == num_reusable, "reusable blocks are counted");
  CheckPages(used);
}

// What is free is counted from the blocks alone: a page without one is free for every class, in
// another the class's blocks that are not in use. Blocks in use do not overlap.
void Simulation::CheckPages(const std::vector<bool>& used) {
  const int64_t page_bytes = pool_->shape().page_bytes();
  const size_t stride = pool_->index_stride();
  int64_t free_pages = 0;
  std::vector<int64_t> free_slots(pool_->num_classes(), 0);
  for (uint32_t page = 0; page < pool_->num_pages(); ++page) {
    const size_t cls = pool_->ClassOfPage(page);
    int64_t count = 0, end = page * page_bytes;
    for (size_t i = page * stride; i < (page + 1) * stride; ++i) {
      if (!used[i]) continue;
      ++count;
      const int64_t begin = int64_t{pool_->GranuleOf(i)} * kGranuleBytes;
      Require(begin >= end, "blocks of a page follow each other");
      end = begin + pool_->layout(cls).block_bytes;
    }
    Require(end <= (page + 1) * page_bytes, "blocks lie in their page");
    Require(pool_->UsedOfPage(page) == count, "a page counts its blocks");
    free_pages += count == 0 ? 1 : 0;
    if (count > 0) free_slots[cls] += page_bytes / pool_->layout(cls).block_bytes - count;
  }
  Require(pool_->num_free_pages() == free_pages, "empty pages are free");
  for (size_t cls = 0; cls < free_slots.size(); ++cls) {
    const int64_t a_page = page_bytes / pool_->layout(cls).block_bytes;
    Require(pool_->num_free(cls) == free_slots[cls] + free_pages * a_page, "room is counted");
  }
}

void Simulation::CheckStats() {
  int64_t running = 0, paused = 0, waiting = 0, unclear = 0;
  for (const auto& [id, live] : live_) {
    if (live.ended) continue;
    const bool holds = !scheduler_->BlockTable(id).empty();
    unclear += live.flagged() ? 1 : 0;
    paused += live.paused ? 1 : 0;
    running += !live.paused && holds ? 1 : 0;
    waiting += !live.paused && !holds ? 1 : 0;
  }
  const SchedulerStats stats = scheduler_->stats();
  Require(stats.running == running, "running is counted");
  if (unclear > 0) return;  // a flag is seen when the sequence comes up
  Require(stats.paused == paused && stats.waiting == waiting, "paused and waiting are counted");
}

}  // namespace latentd
