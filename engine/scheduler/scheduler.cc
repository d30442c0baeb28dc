#include "engine/scheduler/scheduler.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/scheduler/impl.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

int64_t Microseconds(TimePoint time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

// arrival + priority · aging, saturated.
int64_t VirtualArrival(TimePoint arrival, int32_t priority, int64_t aging_us) {
  int64_t offset = 0, sum = 0;
  const int64_t bound =
      priority < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
  if (__builtin_mul_overflow(int64_t{priority}, aging_us, &offset)) return bound;
  if (__builtin_add_overflow(Microseconds(arrival), offset, &sum)) return bound;
  return sum;
}

int64_t ContextTokens(const SchedulerOptions& options, const BlockPool& pool) {
  if (options.max_context <= 0) return pool.capacity_tokens();
  return std::min(options.max_context, pool.capacity_tokens());
}

}  // namespace

void InsertByRank(std::vector<Sequence*>& list, Sequence* s) {
  list.insert(std::lower_bound(list.begin(), list.end(), s, ByRank()), s);
}

void RemoveByRank(std::vector<Sequence*>& list, Sequence* s) {
  const auto it = std::lower_bound(list.begin(), list.end(), s, ByRank());
  LATENTD_CHECK(it != list.end() && *it == s);
  list.erase(it);
}

Scheduler::Impl::Impl(const SchedulerOptions& options, BlockPool* pool)
    : options(options),
      pool(pool),
      index(pool),
      context(ContextTokens(options, *pool)),
      costs(options.cost, options.step_us) {
  // With fewer tokens a step full of decodes would leave no room for the one prefill token.
  LATENTD_CHECK(options.max_num_seqs >= 1 && options.max_num_batched_tokens > options.max_num_seqs);
  LATENTD_CHECK(options.priority_aging_us >= 0 && options.stall_timeout_us >= 0);
  const auto num_seqs = static_cast<size_t>(options.max_num_seqs);
  running.reserve(num_seqs);
  decodes.reserve(num_seqs);
  planned.reserve(num_seqs);
  plan.entries.reserve(num_seqs);
}

Scheduler::Scheduler(const SchedulerOptions& options, BlockPool* pool)
    : impl_(std::make_unique<Impl>(options, pool)) {}

// The pool outlives the scheduler and gets every block back.
Scheduler::~Scheduler() {
  for (auto& s : impl_->sequences) {
    if (s != nullptr) impl_->ReleaseBlocks(*s);
  }
  for (auto& s : impl_->retired) impl_->ReleaseBlocks(*s);
  impl_->index.Flush(nullptr);
}

absl::Status Scheduler::Impl::CheckFits(const SequenceSpec& spec) const {
  const auto prompt_tokens = static_cast<int64_t>(spec.prompt.size());
  if (prompt_tokens <= context && spec.max_new_tokens <= context - prompt_tokens) {
    return absl::OkStatus();
  }
  const bool pool_limits = context == pool->capacity_tokens() && options.max_context != context;
  return absl::InvalidArgumentError(absl::StrCat(
      "prompt of ", prompt_tokens, " tokens",
      spec.max_new_tokens > 0 ? absl::StrCat(" plus max_tokens ", spec.max_new_tokens) : "",
      " exceeds the context of ", context, " tokens", pool_limits ? " that the cache holds" : ""));
}

bool Scheduler::full() const { return impl_->num_not_started >= impl_->options.max_waiting; }

absl::Status Scheduler::Add(SequenceSpec spec) {
  const auto prompt_tokens = static_cast<int64_t>(spec.prompt.size());
  LATENTD_CHECK(prompt_tokens >= 1 && spec.max_new_tokens >= 0);
  LATENTD_CHECK(spec.first_logits_position >= 0 && spec.first_logits_position < prompt_tokens);
  LATENTD_CHECK(impl_->Find(spec.id) == nullptr);
  if (absl::Status status = impl_->CheckFits(spec); !status.ok()) return status;
  if (full()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(impl_->num_not_started, " sequences are waiting, the most allowed"));
  }
  auto s = std::make_unique<Sequence>();
  s->rank = {VirtualArrival(spec.arrival, spec.priority, impl_->options.priority_aging_us),
             impl_->num_added++};
  s->tokens = std::move(spec.prompt);
  s->prompt_tokens = prompt_tokens;
  s->max_tokens = prompt_tokens + spec.max_new_tokens;
  s->spec = std::move(spec);
  s->cls = impl_->pool->shape().ClassOf(s->spec.width_kv);
  impl_->waiting.insert(s.get());
  ++impl_->num_not_started;
  if (s->spec.deadline) impl_->deadlines.insert({*s->spec.deadline, s->rank.order, s.get()});
  if (impl_->sequences.size() <= s->spec.id) impl_->sequences.resize(s->spec.id + 1);
  impl_->sequences[s->spec.id] = std::move(s);
  return absl::OkStatus();
}

void Scheduler::Complete(const std::vector<bool>& cancelled, double took_us) {
  Impl& impl = *impl_;
  LATENTD_CHECK(cancelled.size() == impl.planned.size());
  impl.in_flight = false;
  for (size_t i = 0; i < impl.planned.size(); ++i) {
    impl.CompleteEntry(*impl.planned[i], impl.plan.entries[i].num_tokens(), cancelled[i]);
  }
  impl.planned.clear();
  // What was cancelled may have been left out half-way.
  const bool whole = std::find(cancelled.begin(), cancelled.end(), true) == cancelled.end();
  if (whole && took_us > 0) impl.costs.Observe(impl.estimate, took_us);
  for (auto& s : impl.retired) impl.ReleaseBlocks(*s);
  impl.retired.clear();
}

void Scheduler::Impl::CompleteEntry(Sequence& s, int64_t num_tokens, bool cancelled) {
  s.in_step = false;
  if (!cancelled) {
    s.computed += num_tokens;
    s.high_water = std::max(s.high_water, s.computed);
    Publish(s);
  }
  if (s.finished) return;
  const bool only_scored = s.max_tokens == s.prompt_tokens && s.high_water == s.prompt_tokens;
  if (cancelled || only_scored) End(s);
}

void Scheduler::Append(SequenceId id, uint32_t token) {
  Sequence* s = impl_->Find(id);
  LATENTD_CHECK(s != nullptr && !s->in_step && s->known() < s->max_tokens);
  if (s->state == SequenceState::kEnded) return;  // its flag was seen: the token is not wanted
  LATENTD_CHECK(s->high_water == s->known());
  s->tokens.push_back(token);
  if (s->known() == s->max_tokens) impl_->End(*s);
}

void Scheduler::Finish(SequenceId id) {
  if (impl_->Find(id) == nullptr) return;
  std::unique_ptr<Sequence> s = std::move(impl_->sequences[id]);
  impl_->Detach(*s);
  if (impl_->in_flight) {
    s->finished = true;
    impl_->retired.push_back(std::move(s));
  } else {
    impl_->ReleaseBlocks(*s);
  }
}

void Scheduler::Impl::Detach(Sequence& s) {
  if (s.state == SequenceState::kRunning) RemoveByRank(s.paused ? paused : running, &s);
  if (s.state == SequenceState::kWaiting && !s.paused) waiting.erase(&s);
  if (s.state != SequenceState::kEnded) {
    if (s.spec.deadline) deadlines.erase({*s.spec.deadline, s.rank.order, &s});
    if (s.paused) stalls.erase({s.stalls_at, s.rank.order, &s});
    if (!s.started) --num_not_started;
  }
  s.state = SequenceState::kEnded;
}

void Scheduler::Impl::End(Sequence& s) {
  LATENTD_CHECK(!s.in_step);
  Detach(s);
  ReleaseBlocks(s);
}

void Scheduler::SetPaused(SequenceId id, bool paused, TimePoint now) {
  Sequence* s = impl_->Find(id);
  if (s == nullptr || s->state == SequenceState::kEnded || s->paused == paused) return;
  const bool holds = s->state == SequenceState::kRunning;
  s->paused = paused;
  if (paused) {
    s->stalls_at = now + std::chrono::microseconds(impl_->options.stall_timeout_us);
    impl_->stalls.insert({s->stalls_at, s->rank.order, s});
    holds ? RemoveByRank(impl_->running, s) : static_cast<void>(impl_->waiting.erase(s));
    if (holds) InsertByRank(impl_->paused, s);
  } else {
    impl_->stalls.erase({s->stalls_at, s->rank.order, s});
    if (holds) RemoveByRank(impl_->paused, s);
    holds ? InsertByRank(impl_->running, s) : static_cast<void>(impl_->waiting.insert(s));
  }
}

std::optional<TimePoint> Scheduler::NextWakeup() const {
  std::optional<TimePoint> first;
  for (const auto* timers : {&impl_->deadlines, &impl_->stalls}) {
    if (timers->empty()) continue;
    const TimePoint time = std::get<TimePoint>(*timers->begin());
    if (!first || time < *first) first = time;
  }
  return first;
}

SchedulerStats Scheduler::stats() const {
  SchedulerStats stats = impl_->counters;
  stats.running = static_cast<int64_t>(impl_->running.size());
  stats.waiting = static_cast<int64_t>(impl_->waiting.size());
  stats.paused = static_cast<int64_t>(impl_->stalls.size());
  stats.reusable_blocks = impl_->index.num_reusable();
  stats.cost = impl_->costs.cost();
  stats.cost_factor = impl_->costs.factor();
  return stats;
}

Sequence* Scheduler::Impl::Find(SequenceId id) const {
  return id < sequences.size() ? sequences[id].get() : nullptr;
}

Ranks Scheduler::PolicyWidth() const { return impl_->PolicyWidth(); }

bool Scheduler::Contains(SequenceId id) const { return impl_->Find(id) != nullptr; }

std::span<const uint32_t> Scheduler::BlockTable(SequenceId id) const {
  const Sequence* s = impl_->Find(id);
  if (s == nullptr) return {};
  return s->table;
}

const PrefixIndex& Scheduler::prefix_index() const { return impl_->index; }

uint64_t Scheduler::FlushCache(const uint64_t* tenant_salt) {
  if (tenant_salt == nullptr) return impl_->index.Flush(nullptr);
  const Hash128 salt = {tenant_salt[0], tenant_salt[1]};
  return impl_->index.Flush(&salt);
}

void Scheduler::set_explain(bool on) { impl_->explain = on; }
const std::vector<std::string>& Scheduler::explanation() const { return impl_->explanation; }

}  // namespace latentd
