#include "tests/kernels/cuda/sampler_case.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "engine/sampling/row_scan.h"
#include "engine/sampling/sampler.h"
#include "engine/sampling/sampler_batch.h"
#include "tests/engine/sampling/random_choice.h"
#include "tests/kernels/cuda/memory.h"

namespace latentd::cuda {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kHuge = std::numeric_limits<float>::max();
constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Smooth, in steps that make ties, all equal, zeros of both signs, or the extremes of fp32.
std::vector<float> RandomLogits(Random& random, size_t vocab) {
  std::vector<float> logits(vocab);
  std::normal_distribution<float> normal(0, Pick(random, {0.01F, 1.0F, 5.0F, 30.0F}));
  const int kind = static_cast<int>(random() % 8);
  for (float& x : logits) {
    x = normal(random);
    if (kind >= 4) x = std::round(x * 4) / 4;
    if (kind == 5) x = 1.5F;
    if (kind == 6) x = Pick(random, {0.0F, -0.0F, -1e-40F, 1e-40F});
    if (kind == 7) x = Pick(random, {kHuge, -kHuge, kHuge / 3, 0.0F, -kInf});
    if (kind % 2 == 1 && random() % 9 == 0) x = -kInf;
  }
  logits[random() % vocab] = 1;
  return logits;
}

SamplingParams RandomParams(Random& random, size_t vocab) {
  SamplingParams p;
  p.temperature =
      Pick(random, {0.0F, 1e-44F, 1e-30F, 0.3F, 0.7F, 1.0F, 1.0F, 1.0F, 2.0F, 100.0F, 1e30F});
  p.top_k = Pick(random, {0, 0, 0, 1, 2, 3, 7, 40, static_cast<int>(vocab), 1000000});
  p.top_p = Pick(random, {1.0F, 1.0F, 0.999999F, 0.95F, 0.9F, 0.5F, 0.1F, 1e-9F, 1e-30F});
  p.min_p = Pick(random, {0.0F, 0.0F, 0.0F, 1e-30F, 0.01F, 0.05F, 0.3F, 1.0F});
  p.repetition_penalty = Pick(random, {1.0F, 1.0F, 0.5F, 1.1F, 2.0F, 1e-3F});
  p.presence_penalty = Pick(random, {0.0F, 0.0F, 0.5F, -1.25F});
  p.frequency_penalty = Pick(random, {0.0F, 0.0F, 0.3F, -0.5F});
  p.seed = random();
  for (const uint32_t token : RandomTokens(random, vocab, 4)) {
    p.logit_bias[token] = Pick(random, {-100.0F, -1.5F, 0.25F, 2.0F, 100.0F});
  }
  return p;
}

// Of the words, bits past the vocabulary included, which mean nothing.
std::vector<uint32_t> RandomMask(Random& random, size_t vocab) {
  std::vector<uint32_t> mask((vocab + 31) / 32);
  const bool rare = random() % 2 == 0;
  for (uint32_t& word : mask) {
    word = static_cast<uint32_t>(random());
    if (rare) word &= static_cast<uint32_t>(random()) & static_cast<uint32_t>(random());
  }
  return mask;
}

// The emulator runs one block after another, so that rows that share workspace would not show in
// the results: rows with something to adjust have filled theirs, the others have not touched it.
void RequireOwnWorkspace(const std::vector<SamplerCase>& cases,
                         const std::vector<float>& adjusted) {
  const size_t vocab = adjusted.size() / cases.size();
  for (size_t r = 0; r < cases.size(); ++r) {
    if (!CheckLogits(cases[r].logits).ok()) continue;
    const std::span own = std::span(adjusted).subspan(r * vocab, vocab);
    const bool used = !cases[r].mask.empty() || !cases[r].choice.bias().empty() ||
                      !cases[r].choice.seen().empty() || !cases[r].choice.masked().empty();
    REQUIRE(std::count_if(own.begin(), own.end(), [](float x) { return std::isnan(x); }) ==
            (used ? 0 : static_cast<std::ptrdiff_t>(vocab)));
  }
}

}  // namespace

SamplerCase RandomCase(Random& random, size_t vocab) {
  std::vector<uint32_t> ending = RandomTokens(random, vocab, 3);
  ending.push_back(static_cast<uint32_t>(vocab));  // ignored
  const auto min_tokens = static_cast<uint32_t>(random() % 8);
  ChoiceState choice(RandomParams(random, vocab), static_cast<uint32_t>(random() % 3),
                     RandomTokens(random, vocab, 12), min_tokens, ending,
                     static_cast<int64_t>(vocab));
  for (const uint32_t token : RandomTokens(random, vocab, 12)) choice.Accept(token);
  SamplerCase c = {std::move(choice), RandomLogits(random, vocab), {}, {}};
  if (random() % 3 == 0) c.num_top = Pick(random, {0U, 1U, 5U, kMaxTopLogprobs});
  if (random() % 4 == 0) c.mask = RandomMask(random, vocab);
  return c;
}

SamplerCase PlainCase(const SamplingParams& params, const std::vector<float>& logits) {
  const auto vocab = static_cast<int64_t>(logits.size());
  return {ChoiceState(params, 0, {}, 0, {}, vocab), logits, {}, {}};
}

SamplerResult SampleOnCpu(const SamplerCase& c) {
  SamplerResult result;
  if (!CheckLogits(c.logits).ok()) return {SampleStatus::kNotANumber, 0, {}, 0};
  std::vector<float> allowed = c.logits;
  for (size_t t = 0; t < allowed.size() && !c.mask.empty(); ++t) {
    if ((c.mask[t / 32] >> (t % 32) & 1) == 0) allowed[t] = -kInf;
  }
  Sampler sampler(static_cast<int64_t>(allowed.size()));
  const absl::StatusOr<uint32_t> token = sampler.Draw(c.choice, allowed);
  if (!token.ok()) return {SampleStatus::kNothingLeft, 0, {}, 0};
  result.token = *token;
  if (!c.num_top) return result;
  result.logprobs = RawLogprobs(c.logits, *token, *c.num_top);
  result.exp_sum = SumExp(c.logits, RangeOf(c.logits).max);
  return result;
}

std::vector<SamplerResult> SampleOnDevice(const std::vector<SamplerCase>& cases) {
  const size_t rows = cases.size(), vocab = cases[0].logits.size(), ld = vocab + 3;
  SamplerBatch batch;
  std::vector<float> logits(rows * ld, kPoison);
  for (size_t r = 0; r < rows; ++r) {
    batch.Add(cases[r].choice, cases[r].num_top, cases[r].mask);
    std::copy(cases[r].logits.begin(), cases[r].logits.end(),
              logits.begin() + static_cast<std::ptrdiff_t>(r * ld));
  }
  const auto max_top = static_cast<size_t>(std::max(batch.max_top, 0));
  const Array device_logits(logits), adjusted(std::vector<float>(rows * vocab, kPoison));
  const Array device_rows(batch.rows);
  const Array uses(batch.uses);
  const Array biases(batch.biases);
  const Array masked(batch.masked), allowed(batch.allowed);
  const Array sampled(std::vector<SampledRow>(rows, {-1, -1, -1, 99, 99, SampleStatus(99), 0}));
  const Array top(std::vector<TopLogit>(rows * max_top, {~0U, kPoison}));
  Sample(nullptr,
         {.logits = device_logits.View(static_cast<int64_t>(rows), static_cast<int64_t>(vocab),
                                       static_cast<int64_t>(ld)),
          .rows = device_rows.data(),
          .uses = uses.data(),
          .biases = biases.data(),
          .masked = masked.data(),
          .allowed = allowed.data(),
          .adjusted = adjusted.data(),
          .sampled = sampled.data(),
          .top = top.data(),
          .max_top = batch.max_top});
  RequireOwnWorkspace(cases, adjusted.Read());
  const std::vector<SampledRow> sampled_rows = sampled.Read();
  const std::vector<TopLogit> listed = top.Read();
  std::vector<SamplerResult> results(rows);
  for (size_t r = 0; r < rows; ++r) {
    results[r].status = sampled_rows[r].status;
    results[r].token = sampled_rows[r].token;
    if (!cases[r].num_top || sampled_rows[r].status != SampleStatus::kDrawn) continue;
    results[r].exp_sum = sampled_rows[r].exp_sum;
    const size_t num_top = std::min<size_t>(*cases[r].num_top, vocab);
    results[r].logprobs =
        LogprobsOf(sampled_rows[r], std::span(listed).subspan(r * max_top, num_top));
  }
  return results;
}

void RequireSame(const SamplerResult& actual, const SamplerResult& expected) {
  REQUIRE(actual.status == expected.status);
  REQUIRE(actual.token == expected.token);
  REQUIRE(actual.logprobs.has_value() == expected.logprobs.has_value());
  if (!expected.logprobs) return;
  REQUIRE(std::bit_cast<uint64_t>(actual.exp_sum) == std::bit_cast<uint64_t>(expected.exp_sum));
  const auto same = [](const LogprobEntry& a, const LogprobEntry& b) {
    return a.token == b.token && a.rank == b.rank &&
           std::bit_cast<uint32_t>(a.logprob) == std::bit_cast<uint32_t>(b.logprob);
  };
  REQUIRE(same(actual.logprobs->chosen, expected.logprobs->chosen));
  REQUIRE(std::equal(actual.logprobs->top.begin(), actual.logprobs->top.end(),
                     expected.logprobs->top.begin(), expected.logprobs->top.end(), same));
}

}  // namespace latentd::cuda
