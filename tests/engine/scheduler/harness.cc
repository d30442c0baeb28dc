#include "tests/engine/scheduler/harness.h"

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <catch2/catch.hpp>
#include <cstdio>

namespace latentd {
namespace {

FakeExecutorOptions ExecutorOptions(Harness* harness) {
  FakeExecutorOptions options;
  options.mid_entry = [harness](size_t i) {
    if (harness->mid_entry) harness->mid_entry(i);
  };
  return options;
}

}  // namespace

Harness::Harness(int64_t num_blocks, const SchedulerOptions& options)
    : Harness({{BlockLayout::Make(1, 64, 0, 0)}, 1}, num_blocks, options) {}

Harness::Harness(PageShape shape, int64_t num_pages, const SchedulerOptions& options)
    : pool(*BlockPool::Create(std::move(shape), num_pages, {.poison = true, .may_allocate = {}})),
      scheduler(options, pool.get()),
      executor_(pool.get(), ExecutorOptions(this)) {}

SequenceSpec Harness::Spec(SequenceId id, int64_t prompt_tokens, int64_t max_new_tokens) {
  SequenceSpec spec;
  spec.id = id;
  for (int64_t i = 0; i < prompt_tokens; ++i) {
    const uint64_t bits = FakeModel::Mix(id * 1'000'003 + static_cast<uint64_t>(i));
    spec.prompt.push_back(static_cast<uint32_t>(bits % 32));
  }
  spec.max_new_tokens = max_new_tokens;
  spec.first_logits_position = prompt_tokens - 1;
  return spec;
}

absl::Status Harness::TryAdd(SequenceSpec spec) {
  if (spec.arrival == TimePoint()) spec.arrival = clock.Now();
  const SequenceId id = spec.id;
  const int64_t max_new_tokens = spec.max_new_tokens;
  const auto prompt_tokens = static_cast<int64_t>(spec.prompt.size());
  absl::Status status = scheduler.Add(std::move(spec));
  if (status.ok()) {
    prompt_tokens_[id] = prompt_tokens;
    max_new_tokens_[id] = max_new_tokens;
  }
  return status;
}

void Harness::Add(SequenceSpec spec) {
  const absl::Status status = TryAdd(std::move(spec));
  INFO(status.ToString());
  REQUIRE(status.ok());
}

std::vector<Planned> Harness::Plan() {
  plan_ = &scheduler.Plan(clock.Now());
  std::vector<Planned> planned;
  for (const PlanEntry& entry : plan_->entries) {
    planned.push_back({entry.sequence, entry.first_position, entry.num_tokens()});
  }
  return planned;
}

void Harness::Run() {
  std::map<SequenceId, uint32_t> sampled;
  const auto sink = [&](size_t i, int64_t position, std::span<float> logits) {
    const PlanEntry& entry = plan_->entries[i];
    rows[entry.sequence].push_back(position);
    const auto known =
        prompt_tokens_[entry.sequence] + static_cast<int64_t>(outputs_[entry.sequence].size());
    if (position + 1 == known) sampled[entry.sequence] = Argmax(logits);
  };
  std::vector<EntryOutcome> outcomes;
  std::vector<bool> cancelled;
  executor_.Run(*plan_, sink, &outcomes);
  for (EntryOutcome outcome : outcomes) cancelled.push_back(outcome == EntryOutcome::kCancelled);
  scheduler.Complete(cancelled);
  for (const auto& [id, token] : sampled) {
    if (!scheduler.Contains(id)) continue;
    if (max_new_tokens_[id] > 0) {
      outputs_[id].push_back(token);
      scheduler.Append(id, token);
    }
    if (static_cast<int64_t>(outputs_[id].size()) == max_new_tokens_[id]) scheduler.Finish(id);
  }
}

std::vector<Planned> Harness::Step() {
  std::vector<Planned> planned = Plan();
  Run();
  return planned;
}

void Harness::RunAll() {
  while (!Step().empty()) {
  }
}

std::vector<uint32_t> Harness::Solo(const SequenceSpec& spec) {
  SequenceOracle oracle(FakeModel{}, spec.width_q, spec.width_kv);
  for (uint32_t token : spec.prompt) oracle.Push(token);
  std::vector<uint32_t> output;
  while (static_cast<int64_t>(output.size()) < spec.max_new_tokens) {
    output.push_back(oracle.Greedy());
    oracle.Push(output.back());
  }
  return output;
}

bool Aborts(const std::function<void()>& body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);  // the test framework would report it as its own failure
    close(STDERR_FILENO);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace latentd
