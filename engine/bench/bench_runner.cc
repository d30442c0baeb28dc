#include "engine/bench/bench_runner.h"

#include <algorithm>
#include <vector>

namespace latentd {
namespace {

// Distinct ids, so that experts and embedding rows are met as by text.
std::vector<uint32_t> TokenIds(int64_t first, int64_t count, int64_t vocab) {
  std::vector<uint32_t> ids(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    ids[static_cast<size_t>(i)] = static_cast<uint32_t>((first + i) * 7919 % vocab);
  }
  return ids;
}

// The most likely token of each wanted row, or its logits where the executor does not draw.
void Run(Executor* executor, const StepPlan& plan) {
  SamplingParams params;
  params.temperature = 0;
  const ChoiceState greedy(params, 0, {}, 0, {}, executor->vocab_size());
  TokenSink tokens;
  tokens.wanted = [&](size_t, int64_t) {
    return WantedToken{.choice = &greedy, .top_logprobs = {}, .mask = {}};
  };
  tokens.take = [](size_t, int64_t, const absl::StatusOr<DrawnToken>&) {};
  std::vector<EntryOutcome> outcomes;
  executor->RunAndDraw(
      plan, [](size_t, int64_t, std::span<float>) {}, tokens, &outcomes);
}

}  // namespace

void RunChunk(Executor* executor, std::span<const uint32_t> table, int64_t first_position,
              int64_t count, bool want_last, const Width& width) {
  const std::vector<uint32_t> ids = TokenIds(first_position, count, executor->vocab_size());
  StepPlan plan;
  plan.entries.push_back({.first_position = first_position,
                          .token_ids = ids,
                          .block_table = table,
                          .first_logits_position = first_position + count - (want_last ? 1 : 0),
                          .width_q = width.q,
                          .width_kv = width.kv});
  Run(executor, plan);
}

void RunWork(Executor* executor, const BenchCache& cache, int64_t step_tokens,
             const BenchWork& work) {
  if (work.kind == BenchWork::Kind::kPrefill) {
    for (int64_t done = 0; done < work.tokens; done += step_tokens) {
      const int64_t count = std::min(step_tokens, work.tokens - done);
      RunChunk(executor, cache.table(0), work.depth + done, count, done + count == work.tokens,
               work.width);
    }
    return;
  }
  const std::vector<uint32_t> ids = TokenIds(work.depth, work.batch, executor->vocab_size());
  StepPlan plan;
  for (int64_t i = 0; i < work.batch; ++i) {
    plan.entries.push_back({.first_position = work.depth,
                            .token_ids = std::span(ids).subspan(static_cast<size_t>(i), 1),
                            .block_table = cache.table(i),
                            .first_logits_position = work.depth,
                            .width_q = work.width.q,
                            .width_kv = work.width.kv});
  }
  Run(executor, plan);
}

}  // namespace latentd
