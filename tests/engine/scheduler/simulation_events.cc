// What comes from outside: requests, and all that can happen to them.
#include <algorithm>
#include <tuple>
#include <utility>

#include "tests/engine/scheduler/simulation.h"

namespace latentd {
namespace {

using std::chrono::microseconds;

}  // namespace

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

}  // namespace latentd
