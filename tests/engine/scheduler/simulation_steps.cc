// Steps: planned, run and completed, until all have ended.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tests/engine/scheduler/simulation.h"

namespace latentd {
namespace {

using std::chrono::microseconds;

}  // namespace

void Simulation::Cycle() {
  const Held held_before = Holding();
  const uint64_t evictions = scheduler_->prefix_index().num_evictions();
  const uint64_t preemptions = scheduler_->stats().preemptions;
  const StepPlan& plan = scheduler_->Plan(clock_.Now());
  ++counts_.plans;
  for (size_t i = 0; trace_ && i < scheduler_->explanation().size(); ++i) {
    std::printf("%llu: %s\n", static_cast<unsigned long long>(plan.step),
                scheduler_->explanation()[i].c_str());
  }
  counts_.evictions += static_cast<int64_t>(scheduler_->prefix_index().num_evictions() - evictions);
  counts_.preemptions += static_cast<int64_t>(scheduler_->stats().preemptions - preemptions);
  CheckOverdue(plan);
  const Held held_after = Holding();
  CheckPreemptions(held_before, held_after);
  CheckAdmissions(held_before, held_after);
  CheckEntries(plan, held_before);
  CheckBudgets(plan, held_before);
  CheckProgress(plan, held_after);
  CheckBlocks();
  CheckStats();
  if (plan.empty()) {
    clock_.Advance(microseconds(Draw(1, 5000)));
  } else {
    plan_ = &plan;
    if (Chance(cancel_in_step_)) RandomEvent();
    std::vector<EntryOutcome> outcomes;
    executor_->Run(
        plan, [this](size_t i, int64_t position, std::span<float> row) { OnRow(i, position, row); },
        &outcomes);
    std::vector<bool> cancelled;
    for (EntryOutcome outcome : outcomes) {
      // An engine also gives up on an entry whose request failed.
      cancelled.push_back(outcome == EntryOutcome::kCancelled || Chance(cancel_in_step_ / 20));
      counts_.cancelled_mid_step += cancelled.back() ? 1 : 0;
    }
    const std::vector<uint32_t> spoilt = WrittenByCancelled(plan, cancelled);
    scheduler_->Complete(cancelled, DrawTook_us());
    for (uint32_t granule : spoilt) {
      Require(!scheduler_->prefix_index().Contains(granule), "a cancelled block is not published");
    }
    plan_ = nullptr;
    for (size_t i = 0; i < plan.entries.size(); ++i) CompleteEntry(plan.entries[i], cancelled[i]);
    gone_in_step_.clear();
  }
  for (auto it = live_.begin(); it != live_.end();) {
    Live& live = it++->second;  // may go
    if (live.sampled && --live.append_delay < 0) AppendSampled(live);
  }
  CheckBlocks();
}

double Simulation::DrawTook_us() {
  if (!measured_) return 0;
  return std::exp2(std::uniform_real_distribution<double>(-4, 12)(took_random_));
}

void Simulation::OnRow(size_t entry_idx, int64_t position, std::span<const float> logits) {
  const auto it = live_.find(plan_->entries[entry_idx].sequence);
  if (it == live_.end()) return;  // finished meanwhile: nobody reads it
  Live& live = it->second;
  Require(position == live.next_row, "each wanted row comes once and in order");
  ++live.next_row;
  float expected[kVocab];
  model_.Logits(live.seen[static_cast<size_t>(position)], expected);
  Require(std::equal(logits.begin(), logits.end(), expected), "logits are those of the model");
  if (position + 1 < live.known() || live.max_tokens == live.prompt_tokens) return;
  Require(!live.sampled, "one token is sampled at a time");
  live.sampled = Argmax(logits);
  live.append_delay = Chance(0.02) ? static_cast<int>(Draw(1, 5)) : 0;
}

void Simulation::CompleteEntry(const PlanEntry& entry, bool cancelled) {
  counts_.tokens += entry.num_tokens();
  const auto it = live_.find(entry.sequence);
  if (it == live_.end()) return;
  Live& live = it->second;
  if (cancelled) {
    live.ended = true;
    live.sampled.reset();
    Require(scheduler_->BlockTable(live.spec.id).empty(), "a cancelled sequence holds no block");
    if (Chance(0.5)) Finish(live.spec.id);
    return;
  }
  live.computed += entry.num_tokens();
  live.high_water = std::max(live.high_water, live.computed);
  Require(live.next_row == std::max(live.spec.first_logits_position, live.high_water),
          "every wanted row was delivered");
  if (live.max_tokens == live.prompt_tokens && live.high_water == live.prompt_tokens) {
    live.ended = true;
    Finish(live.spec.id);
  }
}

void Simulation::AppendSampled(Live& live) {
  const uint32_t token = *live.sampled;
  live.sampled.reset();
  if (live.ended) return;
  ++counts_.generated;
  // The last token may or may not be told to the scheduler before the sequence finishes.
  const bool last = live.known() + 1 == live.max_tokens;
  if (!last || Chance(0.5)) {
    scheduler_->Append(live.spec.id, token);
    Learn(live, token);
  }
  if (!last) return;
  live.ended = true;
  if (live.known() == live.max_tokens) {
    Require(scheduler_->BlockTable(live.spec.id).empty(), "a complete sequence holds no block");
  }
  Finish(live.spec.id);
}

// Nothing arrives any more. Each step computes something, the best of the running is never
// preempted and is planned at least once in (running + 1) steps, and what is lost by preemption is
// what others gained.
void Simulation::Drain() {
  draining_ = true;
  int64_t work = 1;
  for (const auto& [id, live] : live_) work += live.max_tokens + 1;
  const auto slots = static_cast<int64_t>(live_.size()) + 2;
  // An empty plan lets some time pass, and pauses end by stalling.
  int64_t cycles = work * slots + options_.stall_timeout_us + 10;
  if (fault_probability_ > 0) cycles *= 4;
  while (!live_.empty()) {
    for (auto it = live_.begin(); it != live_.end();) {
      Live& live = it++->second;
      if (live.ended || live.flagged()) {
        Finish(live.spec.id);
      } else if (live.paused && Chance(0.05)) {
        TogglePause(live);
      }
    }
    Cycle();
    Require(--cycles > 0, "everything ends in a bounded number of steps");
  }
  Cycle();
  const PrefixIndex& index = scheduler_->prefix_index();
  Require(pool_->num_allocated() == index.num_known(), "idle: only prefixes are kept");
  Require(index.num_reusable() == index.num_known(), "idle: every prefix is reusable");
  scheduler_->FlushCache(nullptr);
  Require(pool_->num_free_pages() == pool_->num_pages(), "flushed: every page is free");
}

}  // namespace latentd
