#include "engine/engine_loop.h"

#include <algorithm>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cache/block_pool.h"
#include "cache/prefix_index.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

constexpr uint32_t kMaxChoices = 128;

int64_t MaxWaitingTokens(const EngineOptions& options, const BlockPool& pool) {
  return options.max_waiting_tokens > 0 ? options.max_waiting_tokens : 4 * pool.capacity_tokens();
}

int64_t ContextTokens(const EngineOptions& options, const BlockPool& pool) {
  if (options.scheduler.max_context <= 0) return pool.capacity_tokens();
  return std::min(options.scheduler.max_context, pool.capacity_tokens());
}

// The share of pages that blocks of a class fill, in tokens at full width, rounded up.
uint64_t AtFullWidth(const BlockPool& pool, size_t cls, int64_t blocks) {
  const int64_t per_page = pool.shape().blocks_per_page(cls);
  return static_cast<uint64_t>((blocks * pool.shape().page_tokens() + per_page - 1) / per_page);
}

}  // namespace

EngineLoop::EngineLoop(EngineOptions options, Executor* executor, BlockPool* pool, Clock* clock,
                       DrawFunction draw)
    : options_(std::move(options)),
      executor_(executor),
      pool_(pool),
      clock_(clock),
      context_(ContextTokens(options_, *pool)),
      admissions_(options_.max_waiting_requests, MaxWaitingTokens(options_, *pool)),
      mailbox_(std::make_shared<Mailbox>()),
      scheduler_(options_.scheduler, pool),
      sampler_(executor->vocab_size()),
      draw_(std::move(draw)) {
  LATENTD_CHECK(options_.queue_events >= 1);
  sink_ = [this](size_t entry_idx, int64_t position, std::span<float> logits) {
    TakeRow(step_[entry_idx], position, logits);
  };
  tokens_.wanted = [this](size_t entry_idx, int64_t position) {
    return WantedOf(step_[entry_idx], position);
  };
  tokens_.take = [this](size_t entry_idx, int64_t, absl::StatusOr<DrawnToken> token) {
    TakeToken(step_[entry_idx], std::move(token));
  };
  PublishStats();
}

// What a stream may have posted since the last turn refers back to the mailbox.
EngineLoop::~EngineLoop() {
  mailbox_->Close();
  mail_ = {};
  mailbox_->Take(&mail_);
}

absl::Status EngineLoop::Validate(const EngineRequest& request) const {
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const auto vocab = static_cast<uint64_t>(executor_->vocab_size());
  if (prompt_tokens == 0) return absl::InvalidArgumentError("the prompt has no tokens");
  for (const uint32_t token : request.prompt) {
    if (token < vocab) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("prompt token ", token, " is outside the vocabulary of ", vocab));
  }
  if (request.num_choices < 1 || request.num_choices > kMaxChoices) {
    return absl::InvalidArgumentError(
        absl::StrCat("n is ", request.num_choices, ", must be 1 to ", kMaxChoices));
  }
  if (prompt_tokens + int64_t{request.max_tokens} <= context_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "prompt of ", prompt_tokens, " tokens",
      request.max_tokens > 0 ? absl::StrCat(" plus max_tokens ", request.max_tokens) : "",
      " exceeds the context of ", context_, " tokens"));
}

absl::StatusOr<std::shared_ptr<TokenStream>> EngineLoop::Submit(EngineRequest request) {
  if (absl::Status status = Validate(request); !status.ok()) return status;
  auto shared =
      std::make_shared<Request>(std::move(request), clock_->Now(), options_.queue_events, mailbox_);
  if (absl::Status status = admissions_.Admit(shared); !status.ok()) return status;
  return std::make_shared<RequestStream>(std::move(shared));
}

EngineStats EngineLoop::Stats() const {
  EngineStats stats;
  {
    const std::lock_guard lock(stats_mutex_);
    stats = stats_;
  }
  if (options_.layers_done) stats.layers_done = options_.layers_done();
  stats.requests_waiting = admissions_.waiting();
  stats.requests_running = std::max<int64_t>(0, admissions_.in_flight() - stats.requests_waiting);
  return stats;
}

void EngineLoop::PublishStats() {
  const SchedulerStats scheduler = scheduler_.stats();
  const std::lock_guard lock(stats_mutex_);
  std::vector<ClassStats> blocks = std::exchange(stats_, {}).blocks;  // lends its memory
  blocks.clear();
  stats_.sequences_running = scheduler.running;
  stats_.sequences_waiting = scheduler.waiting + scheduler.paused;
  for (const Request* request : adding_) {
    stats_.sequences_waiting += request->spec.num_choices - request->choices.size();
  }
  stats_.steps = steps_;
  stats_.layers_done = steps_;
  stats_.preemptions = scheduler.preemptions;
  stats_.prefix_queries = scheduler.prefix_queries;
  stats_.prefix_hits = scheduler.prefix_hits;
  stats_.cost = scheduler.cost;
  stats_.cost_factor = scheduler.cost_factor;
  stats_.pages_total = static_cast<uint64_t>(pool_->num_pages());
  stats_.pages_free = static_cast<uint64_t>(pool_->num_free_pages());
  stats_.bytes_per_page = static_cast<uint64_t>(pool_->shape().page_bytes());
  stats_.tokens_capacity = static_cast<uint64_t>(pool_->capacity_tokens());
  for (size_t cls = 0; cls < pool_->num_classes(); ++cls) {
    const int64_t reusable = scheduler_.prefix_index().num_reusable(cls);
    const int64_t in_use = pool_->num_allocated(cls) - reusable;
    stats_.tokens_reusable += AtFullWidth(*pool_, cls, reusable);
    stats_.tokens_in_use += AtFullWidth(*pool_, cls, in_use);
    blocks.push_back({pool_->layout(cls).row_latent, in_use, reusable});
  }
  stats_.blocks = std::move(blocks);
}

void EngineLoop::Send(Request& request, TokenEvent&& event) {
  event.width_q = request.width_q;
  event.width_kv = request.width_kv;
  EventQueue::Pushed pushed = request.queue.Push(std::move(event));
  if (pushed.full) full_.push_back(&request);
  if (pushed.wake != nullptr) wakes_.push_back(std::move(pushed.wake));
}

// Once all events of a step are there: a reader of many streams, or of many choices, is woken once
// rather than between one event and the next.
void EngineLoop::RunWakes() {
  for (const EventQueue::Wake& wake : wakes_) (*wake)();
  wakes_.clear();
}

uint64_t EngineLoop::FlushCache(const uint64_t* tenant_salt) {
  std::optional<std::pair<uint64_t, uint64_t>> salt;
  if (tenant_salt != nullptr) salt.emplace(tenant_salt[0], tenant_salt[1]);
  auto freed = std::make_shared<std::promise<uint64_t>>();
  std::future<uint64_t> result = freed->get_future();
  const auto flush = [this, salt, freed] {
    const uint64_t words[2] = {salt ? salt->first : 0, salt ? salt->second : 0};
    freed->set_value(scheduler_.FlushCache(salt ? words : nullptr));
  };
  return mailbox_->Post(flush) ? result.get() : 0;
}

void EngineLoop::Drain() {
  admissions_.Drain();
  mailbox_->Post([] {});  // so that an idle engine sees that it has drained
}

void EngineLoop::OnDrained(std::function<void()> callback) {
  admissions_.AddDrainedCallback(std::move(callback));
  mailbox_->Post([] {});
}

void EngineLoop::CancelAll(absl::Status status) {
  LATENTD_CHECK(!status.ok());
  admissions_.CondemnAll();
  mailbox_->Post([this, status = std::move(status)] {
    std::vector<Request*> condemned;
    for (const auto& [request, owner] : live_) {
      if (request->condemned) condemned.push_back(request);
    }
    for (Request* request : condemned) EndRequest(*request, status);
  });
}

bool EngineLoop::RunOnce(TimePoint now) {
  now_ = now;
  bool worked = ReadMailbox();
  worked |= AddChoices();
  const StepPlan& plan = scheduler_.Plan(now);
  worked |= !plan.empty();
  worked |= EndDropped(plan);
  RunWakes();  // the step may take long
  if (!plan.empty()) RunStep(plan);
  gone_.clear();
  if (worked) PublishStats();
  RunWakes();
  for (const auto& callback : admissions_.TakeDrained()) callback();
  return worked;
}

std::optional<TimePoint> EngineLoop::NextWakeup() const {
  std::optional<TimePoint> first = scheduler_.NextWakeup();
  for (const Request* request : adding_) {
    const std::optional<TimePoint>& deadline = request->spec.deadline;
    if (deadline && (!first || *deadline < *first)) first = deadline;
  }
  return first;
}

void EngineLoop::Run() {
  constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(1);  // far from overflowing
  while (!stopping_ || InFlight() > 0) {
    const TimePoint now = clock_->Now();
    if (RunOnce(now)) continue;
    std::optional<std::chrono::nanoseconds> timeout;
    if (const auto wakeup = NextWakeup()) {
      timeout =
          *wakeup > now + kLongest ? kLongest : std::max(*wakeup - now, TimePoint::duration(0));
    }
    mailbox_->Wait(timeout);
  }
  mailbox_->Close();
  ReadMailbox();  // a flush may be waited for
}

void EngineLoop::Stop() {
  admissions_.Drain();
  CancelAll(absl::CancelledError("the server is stopping"));
  stopping_ = true;
  mailbox_->Post([] {});
}

}  // namespace latentd
