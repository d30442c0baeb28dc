#include "engine/sampling/sampler_batch.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "engine/sampling/row_scan.h"
#include "engine/sampling/sampler.h"
#include "kernels/sampling.h"

namespace latentd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

template <typename T>
std::span<const T> Part(const std::vector<T>& list, cuda::ListRange range) {
  return std::span(list).subspan(range.first, range.count);
}

// The rules of kernels/cuda/sampler.h, applied to a row as its lists say.
std::vector<float> AdjustedBy(const SamplerBatch& batch, size_t r, std::vector<float> logits) {
  const cuda::SamplerRow& row = batch.rows[r];
  for (const cuda::TokenBias& bias : Part(batch.biases, row.biases)) {
    logits[bias.token] = ClampLogit(logits[bias.token] + bias.bias);
  }
  const Penalties penalise = {row.repetition_penalty, row.presence_penalty, row.frequency_penalty};
  for (const cuda::TokenUse& use : Part(batch.uses, row.uses)) {
    logits[use.token] = penalise(logits[use.token], use.generated);
  }
  for (const uint32_t token : Part(batch.masked, row.masked)) logits[token] = -kInf;
  return logits;
}

ChoiceState BusyChoice(uint32_t index) {
  SamplingParams params;
  params.temperature = 0.75F;
  params.top_k = 20;
  params.top_p = 0.9F;
  params.min_p = 0.05F;
  params.repetition_penalty = 1.5F;
  params.presence_penalty = 0.25F;
  params.frequency_penalty = 0.125F;
  params.seed = 1ULL << 40 | index;
  params.logit_bias = {{1, -2.0F}, {7, 3.0F}, {100, 1.0F}};  // 100: not in the vocabulary
  ChoiceState choice(params, index, std::vector<uint32_t>{0, 1, 1, 3}, 4, {2, 9, 64}, 64);
  for (const uint32_t token : {5U, 3U, 10 + index}) choice.Accept(token);
  return choice;
}

TEST_CASE("A row says all that a draw depends on") {
  const ChoiceState busy = BusyChoice(1), plain({}, 2, {}, 0, {}, 64);
  SamplerBatch batch;
  batch.Add(BusyChoice(0), std::nullopt, {});
  batch.Add(plain, 0, {});
  batch.Add(busy, 5, {});
  REQUIRE(batch.rows.size() == 3);
  CHECK(batch.max_top == 5);

  const cuda::SamplerRow& row = batch.rows[2];
  CHECK(row.seed == (1ULL << 40 | 1));
  CHECK(row.choice == 1);
  CHECK(row.position == 3);
  CHECK(row.temperature == 0.75F);
  CHECK(row.top_k == 20);
  CHECK(row.top_p == 0.9F);
  CHECK(row.min_p_bound == static_cast<float>(std::log(static_cast<double>(0.05F))));
  CHECK(row.allowed == -1);
  CHECK(row.num_logprobs == 5);
  CHECK(batch.rows[0].num_logprobs == -1);
  CHECK(batch.rows[1].num_logprobs == 0);
  CHECK(batch.rows[1].min_p_bound == -kInf);

  std::vector<float> logits(64);
  for (size_t t = 0; t < logits.size(); ++t) logits[t] = static_cast<float>(t) / 3 - 2;
  std::vector<float> of_0 = logits, of_2 = logits;
  BusyChoice(0).Adjust(of_0);
  busy.Adjust(of_2);
  CHECK(of_0 != of_2);
  CHECK(AdjustedBy(batch, 0, logits) == of_0);
  CHECK(AdjustedBy(batch, 2, logits) == of_2);
  CHECK(AdjustedBy(batch, 1, logits) == logits);
}

TEST_CASE("Only what changes a row is listed") {
  SamplingParams params;
  params.logit_bias = {{3, 1.0F}};
  ChoiceState choice(params, 0, std::vector<uint32_t>{0, 1}, 1, {2}, 64);
  SamplerBatch batch;
  batch.Add(choice, {}, {});
  choice.Accept(5);
  batch.Add(choice, {}, {});
  CHECK(batch.uses.empty());  // no penalty is on
  CHECK(batch.rows[0].biases.count == 1);
  CHECK(batch.rows[0].masked.count == 1);
  CHECK(batch.rows[1].biases.count == 1);
  CHECK(batch.rows[1].masked.count == 0);  // min_tokens are reached
}

TEST_CASE("Masks lie one behind the other, and a cleared batch starts anew") {
  const ChoiceState plain({}, 0, {}, 0, {}, 64);
  SamplerBatch batch;
  for (int round = 0; round < 2; ++round) {
    batch.Add(plain, {}, std::vector<uint32_t>{1, 2});
    batch.Add(plain, {}, {});
    batch.Add(plain, {}, std::vector<uint32_t>{3, 4});
    batch.Add(BusyChoice(0), {}, {});
    CHECK(batch.rows[0].allowed == 0);
    CHECK(batch.rows[1].allowed == -1);
    CHECK(batch.rows[2].allowed == 1);
    CHECK(batch.allowed == std::vector<uint32_t>{1, 2, 3, 4});
    CHECK(batch.max_top == -1);
    CHECK(batch.rows[3].uses.first == 0);
    batch.Add(plain, 20, {});
    batch.Clear();
    CHECK(batch.rows.empty());
  }
}

TEST_CASE("Results are those of the host's sampler") {
  cuda::SampledRow row = {};
  row.token = 7;
  CHECK(TokenOf(row).value() == 7);
  row.status = cuda::SampleStatus::kNotANumber;
  CHECK(TokenOf(row).status() == CheckLogits({}));
  row.status = cuda::SampleStatus::kNothingLeft;
  const ChoiceState masked({}, 0, {}, 1, {0}, 1);
  CHECK(TokenOf(row).status() == Sampler(1).Draw(masked, std::vector<float>{0}).status());

  // Weights of 1 and 0: their sum is exact.
  const std::vector<float> logits = {-200, 3, 3, -kInf, 3};
  const TokenLogprobs expected = RawLogprobs(logits, 2, 4);
  const TokenLogprobs actual =
      LogprobsOf({3, 3, 3, 2, 2, cuda::SampleStatus::kDrawn, 0},
                 std::vector<cuda::TopLogit>{{1, 3}, {2, 3}, {4, 3}, {0, -200}});
  const auto require_same = [](const LogprobEntry& a, const LogprobEntry& b) {
    REQUIRE(a.token == b.token);
    REQUIRE(a.rank == b.rank);
    REQUIRE(std::bit_cast<uint32_t>(a.logprob) == std::bit_cast<uint32_t>(b.logprob));
  };
  require_same(actual.chosen, expected.chosen);
  REQUIRE(actual.top.size() == expected.top.size());
  for (size_t i = 0; i < actual.top.size(); ++i) require_same(actual.top[i], expected.top[i]);
}

}  // namespace
}  // namespace latentd
