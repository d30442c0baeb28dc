#include "tests/engine/scheduler/simulation.h"

#include <algorithm>
#include <utility>

namespace latentd {
namespace {

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

}  // namespace latentd
