#include <algorithm>
#include <tuple>

#include "engine/scheduler/impl.h"
#include "kernels/core/check.h"

namespace latentd {

const StepPlan& Scheduler::Plan(TimePoint now) {
  Impl& impl = *impl_;
  LATENTD_CHECK(!impl.in_flight);
  ++impl.plan.step;
  impl.plan.entries.clear();
  impl.plan.expired.clear();
  impl.plan.stalled.clear();
  impl.planned.clear();
  impl.explanation.clear();
  StepBudget budget(impl.options, impl.costs.cost());
  impl.DropOverdue(now);
  impl.DropCancelled();
  impl.GrowRunning();
  impl.PlanDecodes(budget);
  impl.estimate.decode_us = budget.taken_us();
  impl.PlanPrefills(budget);
  impl.estimate.prefill_us = budget.taken_us() - impl.estimate.decode_us;
  impl.in_flight = !impl.plan.empty();
  return impl.plan;
}

void Scheduler::Impl::DropOverdue(TimePoint now) {
  const auto drop = [&](std::set<Timer>& timers, std::vector<SequenceId>& dropped,
                        const char* why) {
    while (!timers.empty() && std::get<TimePoint>(*timers.begin()) <= now) {
      Sequence& s = *std::get<Sequence*>(*timers.begin());
      const SequenceId id = s.spec.id;
      dropped.push_back(id);
      End(s);
      sequences[id].reset();
      Explain("sequence ", id, ": ", why);
    }
  };
  drop(deadlines, plan.expired, "its deadline passed");
  drop(stalls, plan.stalled, "paused for too long");
}

void Scheduler::Impl::DropCancelled() {
  for (size_t i = 0; i < running.size();) {
    Sequence& s = *running[i];
    if (!s.cancelled()) {
      ++i;
      continue;
    }
    End(s);  // takes it out of running
    Explain("sequence ", s.spec.id, ": cancelled");
  }
}

// When the last plan could not take all, the longest left out go first, so that each has its turn
// whoever joins meanwhile.
void Scheduler::Impl::PlanDecodes(StepBudget& budget) {
  const std::vector<Sequence*>* order = &running;
  if (decodes_left_out) {
    decodes = running;
    std::sort(decodes.begin(), decodes.end(), [](const Sequence* a, const Sequence* b) {
      return std::tie(a->last_step, a->rank) < std::tie(b->last_step, b->rank);
    });
    order = &decodes;
  }
  // Sequences back from a pause can outnumber the slots: prefills and decodes then take turns.
  const bool keep_slot =
      prefills_left_out &&
      std::any_of(running.begin(), running.end(), [](const Sequence* s) { return s->prefills(); });
  decodes_left_out = false;
  for (Sequence* s : *order) {
    if (!s->decodes()) continue;
    const bool slot_left = budget.seqs() > (keep_slot ? 1 : 0);
    if (slot_left && PlanChunk(*s, plan.empty() ? 1 : 0, budget)) continue;
    decodes_left_out = true;
    Explain("sequence ", s->spec.id, ": decode waits for the next step, the budget is used up");
    return;
  }
}

// Prefills of running and of newly admitted sequences, best rank first. The first gets a token
// whatever the decodes used.
void Scheduler::Impl::PlanPrefills(StepBudget& budget) {
  bool admitting = true;
  int64_t min_tokens = 1;
  for (size_t i = 0;;) {
    while (i < running.size() && (running[i]->in_step || !running[i]->prefills())) ++i;
    Sequence* next = i < running.size() ? running[i] : nullptr;
    Sequence* newcomer = admitting ? NextWaiting() : nullptr;
    if (newcomer != nullptr && (next == nullptr || newcomer->rank < next->rank)) {
      if (!Admit(*newcomer, budget, min_tokens)) {
        admitting = false;
        continue;
      }
      next = newcomer;
      i = 0;  // positions have shifted
    }
    if (next == nullptr || !PlanChunk(*next, min_tokens, budget)) {
      prefills_left_out = next != nullptr && min_tokens == 1;
      return;
    }
    min_tokens = 0;
  }
}

bool Scheduler::Impl::PlanChunk(Sequence& s, int64_t min_tokens, StepBudget& budget) {
  const int64_t num_tokens = budget.Fit(s.computed, s.pending(), min_tokens);
  if (num_tokens == 0) return false;
  AddEntry(s, num_tokens, budget);
  return true;
}

void Scheduler::Impl::AddEntry(Sequence& s, int64_t num_tokens, StepBudget& budget) {
  LATENTD_CHECK(!s.in_step && s.computed + num_tokens <= s.max_positions());
  LATENTD_CHECK(s.computed + num_tokens <= s.capacity());
  budget.Take(s.computed, num_tokens);
  s.in_step = true;
  s.last_step = plan.step;
  planned.push_back(&s);
  PlanEntry& entry = plan.entries.emplace_back();
  entry.sequence = s.spec.id;
  entry.first_position = s.computed;
  entry.token_ids =
      std::span(s.tokens).subspan(static_cast<size_t>(s.computed), static_cast<size_t>(num_tokens));
  entry.block_table = s.table;
  // Rows delivered before a preemption are not wanted twice.
  entry.first_logits_position = std::max(s.spec.first_logits_position, s.high_water);
  entry.width_q = s.spec.width_q;
  entry.width_kv = s.spec.width_kv;
  entry.cancelled = s.spec.cancelled;
  Explain("sequence ", s.spec.id, ": ", num_tokens, " tokens at ", s.computed, " of ", s.known(),
          ", at ", costs.factor(), " times the measured cost");
}

}  // namespace latentd
