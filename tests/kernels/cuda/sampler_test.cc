// The sampler, emulated or on a device, against the CPU's: equal tokens, equal bits.
#include <catch2/catch.hpp>
#include <limits>

#include "kernels/core/philox.h"
#include "tests/kernels/cuda/sampler_case.h"

namespace latentd::cuda {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// REQUIREs the CPU's results; how many rows had a token.
size_t CompareWithCpu(const std::vector<SamplerCase>& cases) {
  const std::vector<SamplerResult> actual = SampleOnDevice(cases);
  size_t num_drawn = 0;
  for (size_t r = 0; r < cases.size(); ++r) {
    const SamplingParams& p = cases[r].choice.params();
    INFO("row " << r << " of " << cases.size() << ", vocabulary " << cases[r].logits.size()
                << ", temperature " << p.temperature << ", top_k " << p.top_k << ", top_p "
                << p.top_p << ", min_p " << p.min_p << ", mask " << !cases[r].mask.empty()
                << ", logprobs " << cases[r].num_top.has_value());
    RequireSame(actual[r], SampleOnCpu(cases[r]));
    num_drawn += actual[r].status == SampleStatus::kDrawn ? 1 : 0;
  }
  return num_drawn;
}

TEST_CASE("Random rows under all parameters are drawn from as on the CPU") {
  struct Sizes {
    size_t vocab, launches, rows;
  };
  std::mt19937_64 random(20261122);
  for (const Sizes s : {Sizes{1, 10, 20},
                        {2, 20, 20},
                        {17, 160, 20},
                        {33, 100, 20},
                        {1000, 60, 10},
                        {32768, 4, 6},
                        {70000, 1, 3}}) {
    size_t num_drawn = 0;
    for (size_t launch = 0; launch < s.launches; ++launch) {
      std::vector<SamplerCase> cases;
      for (size_t r = 0; r < s.rows; ++r) cases.push_back(RandomCase(random, s.vocab));
      num_drawn += CompareWithCpu(cases);
    }
    CHECK(num_drawn > s.launches * s.rows / 2);  // the others have masks that leave nothing
  }
}

// Draws of one row at consecutive positions.
std::vector<SamplerCase> Draws(const SamplingParams& params, const std::vector<float>& logits,
                               size_t count) {
  std::vector<SamplerCase> cases(count, PlainCase(params, logits));
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < i; ++k) cases[i].choice.Accept(0);
  }
  return cases;
}

TEST_CASE("Equal logits in a large vocabulary are told apart by the last digit of the id") {
  SamplingParams params;
  params.seed = 5;
  params.top_k = GENERATE(0, 65536, 65537, 69999);
  params.top_p = GENERATE(1.0F, 0.97F);
  std::vector<float> logits(70000, -3.25F);
  logits[69998] = 2;
  CHECK(CompareWithCpu(Draws(params, logits, 2)) == 2);
}

// Seeds that a search found.
TEST_CASE("The smallest and the largest random number take the first and the last token kept") {
  constexpr uint64_t kSmallest = 12121362, kLargest = 16390493;
  REQUIRE(DrawBits(kSmallest, 0, 0) == 0);
  REQUIRE(DrawBits(kLargest, 0, 0) == (1U << 24) - 1);
  std::vector<float> logits(1000);
  for (size_t t = 0; t < logits.size(); ++t) logits[t] = static_cast<float>(t * 7 % 1000 / 4) / 50;
  std::vector<SamplerCase> cases;
  for (const uint64_t seed : {kSmallest, kLargest}) {
    for (const int32_t top_k : {0, 3, 500}) {
      for (const float top_p : {1.0F, 0.5F}) {
        for (const float min_p : {0.0F, 0.4F, 1.0F}) {
          SamplingParams params;
          params.seed = seed;
          params.top_k = top_k;
          params.top_p = top_p;
          params.min_p = min_p;
          cases.push_back(PlainCase(params, logits));
        }
      }
    }
  }
  CHECK(CompareWithCpu(cases) == cases.size());
}

TEST_CASE("A row has the same bits alone, in a batch and in another order") {
  std::mt19937_64 random(3);
  std::vector<SamplerCase> cases;
  for (int r = 0; r < 24; ++r) {
    cases.push_back(RandomCase(random, 1000));
    cases.back().num_top = static_cast<uint32_t>(r % 21);
  }
  const std::vector<SamplerResult> together = SampleOnDevice(cases);
  std::vector<SamplerCase> backwards(cases.rbegin(), cases.rend());
  const std::vector<SamplerResult> turned = SampleOnDevice(backwards);
  for (size_t r = 0; r < cases.size(); ++r) {
    INFO("row " << r);
    RequireSame(SampleOnDevice({cases[r]})[0], together[r]);
    RequireSame(turned[cases.size() - 1 - r], together[r]);
  }
}

TEST_CASE("Rows that are no numbers or leave nothing fail alone", "[small]") {
  std::mt19937_64 random(4);
  std::vector<SamplerCase> cases, broken;
  for (int r = 0; r < 9; ++r) cases.push_back(RandomCase(random, 100));
  for (SamplerCase& c : cases) c.mask.clear();
  broken = cases;
  broken[1].logits[99] = kNaN;
  broken[2].logits[0] = kInf;
  broken[3].logits.assign(100, -kInf);
  broken[4].logits.assign(100, kNaN);
  broken[5].mask.assign(4, 0);  // nothing is allowed
  broken[6].mask.assign(4, 0);
  broken[6].logits[50] = kNaN;  // not allowed, yet a sign that the model is broken
  const std::vector<uint32_t> all = {0, 1, 2};
  broken[7] = {ChoiceState({}, 0, {}, 1, all, 100), std::vector<float>(100, -kInf), 5, {}};
  std::fill_n(broken[7].logits.begin(), 3, 1.0F);
  CHECK(CompareWithCpu(broken) == CompareWithCpu({broken[0], broken[8]}));
  const std::vector<SamplerResult> whole = SampleOnDevice(cases), actual = SampleOnDevice(broken);
  for (const size_t r : {1U, 2U, 3U, 4U, 6U}) CHECK(actual[r].status == SampleStatus::kNotANumber);
  for (const size_t r : {5U, 7U}) CHECK(actual[r].status == SampleStatus::kNothingLeft);
  for (const size_t r : {0U, 8U}) RequireSame(actual[r], whole[r]);
}

TEST_CASE("Lists, masks and workspace of a row are its own", "[small]") {
  SamplingParams greedy;
  greedy.temperature = 0;
  greedy.logit_bias = {{2, 3.0F}};
  const std::vector<float> logits = {4, 3, 2, 1};
  std::vector<SamplerCase> cases = {PlainCase(greedy, logits), PlainCase({}, logits),
                                    PlainCase(greedy, logits)};
  cases[2].mask = {0b1010};
  cases[2].num_top = 1;
  const std::vector<SamplerResult> results = SampleOnDevice(cases);
  CHECK(results[0].token == 2);
  CHECK(results[2].token == 1);
  CHECK(results[2].logprobs->top[0].token == 0);  // of the raw row
  CHECK(CompareWithCpu(cases) == 3);
}

}  // namespace
}  // namespace latentd::cuda
