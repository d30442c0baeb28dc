#include "tests/engine/scheduler/simulation.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <tuple>
#include <utility>

namespace latentd {
namespace {

constexpr uint32_t kVocab = 32;
using std::chrono::microseconds;

}  // namespace

void OperationCounts::Add(const OperationCounts& other) {
  events += other.events;
  plans += other.plans;
  tokens += other.tokens;
  preemptions += other.preemptions;
  hit_tokens += other.hit_tokens;
  expired += other.expired;
  stalled += other.stalled;
  cancelled_mid_step += other.cancelled_mid_step;
  evictions += other.evictions;
  refused += other.refused;
  generated += other.generated;
}

void Require(bool holds, const char* what) {
  if (!holds) throw Violation{what};
}

Simulation::Simulation(uint64_t seed) : random_(seed), took_random_(seed) {
  DrawOptions();
  measured_ = std::bernoulli_distribution(0.5)(took_random_);
  BlockPoolOptions pool_options{.poison = true, .may_allocate = {}};
  if (fault_probability_ > 0) {
    pool_options.may_allocate = [this] { return !Chance(fault_probability_); };
  }
  PageShape shape = DrawShape();
  // Of pages of several blocks a few are enough to be short of.
  const int64_t most_pages = shape.full_blocks > 1 ? (Chance(0.5) ? 3 : 8) : Chance(0.5) ? 6 : 24;
  pool_ = *BlockPool::Create(std::move(shape), Draw(1, most_pages), pool_options);
  if (Chance(0.3)) options_.max_context = Draw(1, pool_->capacity_tokens());
  for (size_t i = 0; Chance(0.5) && i < std::max<size_t>(2, pool_->num_classes()); ++i) {
    const size_t cls = std::min(i, pool_->num_classes() - 1);
    options_.width_ladder.emplace_back(3 + i, pool_->layout(cls).row_latent);
  }
  scheduler_ = std::make_unique<Scheduler>(options_, pool_.get());
  scheduler_->set_explain(Chance(0.05));
  FakeExecutorOptions executor_options;
  executor_options.model = model_;
  executor_options.clock = &clock_;
  executor_options.step_delay = microseconds(Draw(1, 2000));
  executor_options.mid_entry = [this](size_t) {
    if (Chance(cancel_in_step_)) RandomEvent();
  };
  executor_ = std::make_unique<FakeExecutor>(pool_.get(), executor_options);
}

void Simulation::DrawOptions() {
  model_.vocab_size = kVocab;
  options_.max_num_seqs = Draw(1, Chance(0.2) ? 24 : 6);
  options_.max_num_batched_tokens = options_.max_num_seqs + Draw(1, Chance(0.5) ? 20 : 300);
  // Quarters of microseconds are exact in the sums of both sides.
  options_.cost.token_us = static_cast<double>(Draw(0, 8)) * 0.25;
  options_.cost.position_us = static_cast<double>(Draw(0, 4)) * 0.25;
  options_.step_us = Chance(0.2) ? 1'000'000 : Draw(0, 600);
  options_.max_waiting = Draw(1, 20);
  options_.priority_aging_us = Chance(0.2) ? 0 : Draw(1, 200'000);
  options_.stall_timeout_us = Draw(1, 100'000);
  options_.prefix_reuse = Chance(0.9);
  fault_probability_ = Chance(0.15) ? 0.1 : 0;
  cancel_in_step_ = Chance(0.5) ? 0.05 : 0;
  most_new_tokens_ = Chance(0.5) ? 30 : 200;
  most_live_ = Draw(1, 24);
  const int64_t num_documents = Draw(1, 4);
  for (int64_t i = 0; i < num_documents; ++i) {
    documents_.emplace_back(1600);
    for (uint32_t& token : documents_.back()) token = static_cast<uint32_t>(Draw(0, kVocab - 1));
  }
}

// One class, a block a page; or several that take turns with the pages.
PageShape Simulation::DrawShape() {
  if (Chance(0.4)) return {{BlockLayout::Make(1, 64, 0, 0)}, 1};
  PageShape shape;
  for (int64_t width = 64 * Draw(2, 5); width > 0; width -= 64 * Draw(1, 2)) {
    shape.classes.push_back(BlockLayout::Make(1, width, 0, 0));
  }
  shape.full_blocks = Draw(1, 5);
  return shape;
}

// Few enough that prefixes are shared; of several classes all, near the edges of a row too.
int64_t Simulation::DrawWidth() {
  if (pool_->num_classes() == 1) return Chance(0.9) ? 2 : 1;
  const auto last = static_cast<int64_t>(pool_->num_classes()) - 1;
  const int64_t row = pool_->layout(static_cast<size_t>(Draw(0, last))).row_latent;
  return Chance(0.2) ? row - 63 : row;
}

void Simulation::set_trace(bool on) {
  trace_ = on;
  scheduler_->set_explain(on);
}

void Simulation::Run(int64_t num_operations) {
  CheckBlocks();
  while (counts_.total() < num_operations) {
    while (static_cast<int64_t>(live_.size()) < most_live_ && Chance(0.3)) AddSequence();
    if (Chance(0.3)) RandomEvent();
    Cycle();
  }
  Drain();
}

void Simulation::RandomEvent() {
  ++counts_.events;
  switch (Draw(0, 9)) {
    case 0:
    case 1: {
      if (!draining_ && static_cast<int64_t>(live_.size()) < 2 * most_live_) AddSequence();
      break;
    }
    case 2: {
      if (Live* live = Pick(); live != nullptr && Chance(0.5)) Finish(live->spec.id);
      break;
    }
    case 3: {
      if (Live* live = Pick(); live != nullptr && Chance(0.5)) live->flag->store(true);
      break;
    }
    case 4:
    case 5:
    case 6:
    case 7: {
      if (Live* live = Pick()) TogglePause(*live);
      break;
    }
    case 8: {
      if (Chance(0.2)) Flush();
      break;
    }
    default: {
      if (plan_ == nullptr) clock_.Advance(microseconds(Draw(0, 20'000)));
    }
  }
}

Simulation::Live* Simulation::Pick() {
  if (live_.empty()) return nullptr;
  return &std::next(live_.begin(), Draw(0, static_cast<int64_t>(live_.size()) - 1))->second;
}

// Shares a leading part, often one near a block's edge, with other prompts.
std::vector<uint32_t> Simulation::DrawPrompt(int64_t num_tokens) {
  const auto& document =
      documents_[static_cast<size_t>(Draw(0, static_cast<int64_t>(documents_.size()) - 1))];
  num_tokens = std::min(num_tokens, static_cast<int64_t>(document.size()));
  std::vector<uint32_t> prompt(document.begin(), document.begin() + num_tokens);
  if (Chance(0.6)) {
    const int64_t shared = std::min(Draw(0, num_tokens), Draw(0, 4) * kBlockTokens + Draw(-1, 1));
    for (auto i = static_cast<size_t>(std::max<int64_t>(shared, 0)); i < prompt.size(); ++i) {
      prompt[i] = static_cast<uint32_t>(Draw(0, kVocab - 1));
    }
  }
  return prompt;
}

void Simulation::AddSequence() {
  ++counts_.events;
  const int64_t capacity = pool_->capacity_tokens();
  const int64_t context = options_.max_context > 0 ? options_.max_context : capacity;
  int64_t num_tokens = Draw(1, std::min<int64_t>(context, 400));
  if (Chance(0.4)) num_tokens = Draw(0, 4) * kBlockTokens + Draw(-1, 1);
  Live live;
  live.spec.id = next_id_++;
  live.spec.prompt = DrawPrompt(std::clamp<int64_t>(num_tokens, 1, context + 1));
  live.spec.max_new_tokens = Chance(0.1) ? 0 : Draw(1, most_new_tokens_);
  live.prompt_tokens = static_cast<int64_t>(live.spec.prompt.size());
  live.max_tokens = live.prompt_tokens + live.spec.max_new_tokens;
  live.spec.first_logits_position =
      Chance(0.15) ? Draw(0, live.prompt_tokens - 1) : live.prompt_tokens - 1;
  live.spec.width_q = Draw(1, 2);
  live.spec.width_kv = DrawWidth();
  live.spec.width_by_policy = Chance(0.3);
  live.width_settled = !live.spec.width_by_policy || options_.width_ladder.empty();
  live.spec.priority = static_cast<int32_t>(Draw(-1, 2));
  live.spec.arrival = clock_.Now() - microseconds(Draw(0, 3));
  if (Chance(0.2)) live.spec.deadline = clock_.Now() + microseconds(Draw(0, 100'000));
  live.spec.tenant_salt[0] = static_cast<uint64_t>(Draw(0, 5) / 5);
  live.flag = std::make_unique<std::atomic<bool>>(false);
  live.spec.cancelled = Chance(0.9) ? live.flag.get() : nullptr;
  const auto arrival_us =
      std::chrono::duration_cast<microseconds>(live.spec.arrival.time_since_epoch());
  live.rank = {arrival_us.count() + live.spec.priority * options_.priority_aging_us, live.spec.id};

  const absl::Status status = scheduler_->Add(live.spec);
  if (live.max_tokens > std::min(context, capacity)) {
    Require(status.code() == absl::StatusCode::kInvalidArgument, "what cannot fit is refused");
  } else if (!status.ok()) {
    Require(status.code() == absl::StatusCode::kResourceExhausted, "refused only as full");
    const SchedulerStats stats = scheduler_->stats();
    Require(stats.waiting + stats.paused >= options_.max_waiting, "refused as full only when full");
  }
  if (!status.ok()) {
    ++counts_.refused;
    return;
  }
  live.running = FakeModel::Seed(live.spec.width_q, live.spec.width_kv);
  live.next_row = live.spec.first_logits_position;
  for (uint32_t token : live.spec.prompt) Learn(live, token);
  live.spec.prompt.clear();
  live_.emplace(live.spec.id, std::move(live));
}

void Simulation::Learn(Live& live, uint32_t token) {
  const FakeSlot slot = FakeModel::Next(live.running, token, live.known());
  live.running = slot.running;
  live.seen.push_back(FakeModel::See(live.seen.empty() ? 0 : live.seen.back(), slot));
  live.tokens.push_back(token);
}

void Simulation::SettleWidth(Live& live, const PlanEntry& entry) {
  const auto& ladder = options_.width_ladder;
  const std::pair<int64_t, int64_t> width = {entry.width_q, entry.width_kv};
  Require(std::find(ladder.begin(), ladder.end(), width) != ladder.end(), "a rung of the ladder");
  std::tie(live.spec.width_q, live.spec.width_kv) = width;
  live.running = FakeModel::Seed(width.first, width.second);
  live.seen.clear();
  for (uint32_t token : std::exchange(live.tokens, {})) Learn(live, token);
  live.width_settled = true;
}

void Simulation::Finish(SequenceId id) {
  const int64_t allocated_before = pool_->num_allocated();
  scheduler_->Finish(id);
  Require(!scheduler_->Contains(id), "a finished sequence is gone");
  Require(plan_ == nullptr || pool_->num_allocated() == allocated_before,
          "no block is freed in flight");
  auto node = live_.extract(id);
  // The executor may still look at its flag.
  if (plan_ != nullptr) gone_in_step_.push_back(std::move(node.mapped()));
}

void Simulation::TogglePause(Live& live) {
  scheduler_->SetPaused(live.spec.id, !live.paused, clock_.Now());
  if (live.ended) return;
  live.paused = !live.paused;
  live.stalls_at = clock_.Now() + microseconds(options_.stall_timeout_us);
}

void Simulation::Flush() {
  const int64_t allocated_before = pool_->num_allocated();
  const uint64_t salt[2] = {static_cast<uint64_t>(Draw(0, 1)), 0};
  const uint64_t freed = scheduler_->FlushCache(Chance(0.5) ? salt : nullptr);
  Require(pool_->num_allocated() == allocated_before - static_cast<int64_t>(freed),
          "a flush counts blocks");
}

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
