#include "engine/sampling/sampler.h"

#include <catch2/catch.hpp>
#include <limits>
#include <set>

#include "engine/sampling/row_scan.h"
#include "kernels/core/philox.h"

namespace latentd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kHuge = std::numeric_limits<float>::max();
constexpr uint32_t kLastR = (1U << 24) - 1;

ChoiceState Fresh(const SamplingParams& params, int64_t vocab, uint32_t choice = 0) {
  return ChoiceState(params, choice, {}, 0, {}, vocab);
}

uint32_t DrawOnce(const SamplingParams& params, const std::vector<float>& logits, uint32_t r) {
  const auto vocab = static_cast<int64_t>(logits.size());
  return Sampler(vocab).DrawAt(Fresh(params, vocab), logits, r).value();
}

TEST_CASE("Equal logits share the range equally, lower ids first") {
  const std::vector<float> logits(4, 3.5F);
  for (uint32_t quarter = 0; quarter < 4; ++quarter) {
    CHECK(DrawOnce({}, logits, quarter << 22) == quarter);
    CHECK(DrawOnce({}, logits, ((quarter + 1) << 22) - 1) == quarter);
  }
}

TEST_CASE("The order is by descending logit, then by id") {
  const std::vector<float> logits = {-kInf, 0, 5, 5, 0, 9};
  SamplingParams flat;
  flat.temperature = 1e30F;  // five equal shares
  std::vector<uint32_t> order;
  for (uint32_t r = 1000; r < kLastR; r += (1U << 24) / 5)
    order.push_back(DrawOnce(flat, logits, r));
  CHECK(order == std::vector<uint32_t>{5, 2, 3, 1, 4});
}

TEST_CASE("Greedy, top_k 1, a tiny top_p and a cold temperature take the lower of equal maxima") {
  const std::vector<float> logits = {1, -2, 7, 7, 6.5F, 7};
  SamplingParams params;
  SECTION("greedy") { params.temperature = 0; }
  SECTION("top_k") { params.top_k = 1; }
  SECTION("top_p") { params.top_p = 1e-30F; }
  for (const uint32_t r : {0U, 1U << 23, kLastR}) CHECK(DrawOnce(params, logits, r) == 2);
}

TEST_CASE("A temperature near zero leaves only the maxima") {
  SamplingParams params;
  params.temperature = GENERATE(1e-30F, 1e-44F);
  CHECK(DrawOnce(params, {1, 7, 6.9999F, 7}, 0) == 1);
  CHECK(DrawOnce(params, {1, 7, 6.9999F, 7}, kLastR) == 3);
}

TEST_CASE("Huge logits and their differences stay finite") {
  CHECK(DrawOnce({}, {-kHuge, kHuge, -kInf}, kLastR) == 1);
  SamplingParams boosted;
  boosted.logit_bias = {{0, 100.0F}};
  CHECK(DrawOnce(boosted, {kHuge, 1}, kLastR) == 0);
  SamplingParams divided;
  divided.repetition_penalty = 1e-3F;
  const ChoiceState state(divided, 0, std::vector<uint32_t>{1}, 0, {}, 3);
  CHECK(Sampler(3).DrawAt(state, std::vector<float>{1, 1e37F, 2}, kLastR).value() == 1);
}

TEST_CASE("top_k cuts ties by id") {
  SamplingParams params;
  params.top_k = 3;
  const std::vector<float> logits = {4, 4, 8, 4, 4};
  std::set<uint32_t> drawn;
  for (uint32_t r = 0; r <= kLastR; r += 1U << 12) drawn.insert(DrawOnce(params, logits, r));
  CHECK(drawn == std::set<uint32_t>{0, 1, 2});
}

TEST_CASE("top_p keeps no more than the shortest prefix that reaches it") {
  SamplingParams params;
  params.top_p = 0.5F;  // exactly two of four equal shares
  const std::vector<float> logits(4, 1.0F);
  CHECK(DrawOnce(params, logits, (1U << 23) - 1) == 0);
  CHECK(DrawOnce(params, logits, 1U << 23) == 1);
  CHECK(DrawOnce(params, logits, kLastR) == 1);
}

TEST_CASE("min_p 1 keeps every maximum, 1e-30 everything") {
  SamplingParams params;
  params.min_p = 1;
  CHECK(DrawOnce(params, {2, 3, 3}, 0) == 1);
  CHECK(DrawOnce(params, {2, 3, 3}, kLastR) == 2);
  params.min_p = 1e-30F;
  CHECK(DrawOnce(params, {2, 3, 3}, kLastR) == 0);
}

TEST_CASE("min_p keeps what a huge temperature makes equal") {
  SamplingParams params;
  params.min_p = 0.05F;
  params.temperature = GENERATE(1e6F, 1e30F);
  CHECK(DrawOnce(params, {2, 3}, 0) == 1);
  CHECK(DrawOnce(params, {2, 3}, kLastR) == 0);
}

TEST_CASE("The penalties have Hugging Face's and OpenAI's signs") {
  SamplingParams params;
  params.repetition_penalty = 2;
  params.presence_penalty = 0.5F;
  params.frequency_penalty = 0.25F;
  ChoiceState state(params, 0, std::vector<uint32_t>{0, 1}, 0, {}, 4);
  state.Accept(1);
  state.Accept(1);
  state.Accept(2);
  std::vector<float> row = {8, 8, -8, 8};
  state.Adjust(row);
  // 0: prompt only, divided. 1: divided, then −0.5 and −2·0.25. 2: negative, multiplied, −0.5 −
  // 0.25.
  CHECK(row == std::vector<float>{4, 3, -16.75F, 8});
}

TEST_CASE("min_tokens masks ending tokens until enough were generated") {
  SamplingParams greedy;
  greedy.temperature = 0;
  ChoiceState state(greedy, 0, {}, 2, {1, 2, 99}, 4);
  Sampler sampler(4);
  const std::vector<float> logits = {1, 9, 8, 2};
  CHECK(sampler.Draw(state, logits).value() == 3);
  state.Accept(3);
  CHECK(sampler.Draw(state, logits).value() == 3);
  state.Accept(3);
  CHECK(sampler.Draw(state, logits).value() == 1);
}

TEST_CASE("Masking everything is the request's fault") {
  const ChoiceState state({}, 0, {}, 1, {0, 1}, 2);
  CHECK(Sampler(2).Draw(state, std::vector<float>{1, 2}).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("A draw depends on seed, choice and position, and on nothing a sampler did before") {
  std::vector<float> logits(500), other(500);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>((i * 37) % 500) / 250;
    other[i] = static_cast<float>((i * 91) % 500) / 3;
  }
  SamplingParams params;
  params.seed = 42;
  Sampler used(500), fresh(500);
  SamplingParams filtered = params;
  filtered.top_k = 3;
  filtered.top_p = 0.5F;
  filtered.frequency_penalty = 1;
  std::vector<uint32_t> tokens[2];
  for (uint32_t choice = 0; choice < 2; ++choice) {
    ChoiceState state = Fresh(params, 500, choice);
    for (int i = 0; i < 20; ++i) {
      REQUIRE(used.Draw(Fresh(filtered, 500), other).ok());
      const uint32_t token = used.Draw(state, logits).value();
      CHECK(token == fresh.Draw(state, logits).value());
      CHECK(token ==
            used.DrawAt(state, logits, DrawBits(42, choice, static_cast<uint64_t>(i))).value());
      state.Accept(token);
      tokens[choice].push_back(token);
    }
  }
  CHECK(tokens[0] != tokens[1]);
}

TEST_CASE("Rows that are no numbers are refused") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(CheckLogits(std::vector<float>{1, -kInf, -kHuge}).ok());
  CHECK(CheckLogits(std::vector<float>{-kHuge, -kInf}).ok());
  for (const std::vector<float>& row :
       {std::vector<float>{1, nan, 2}, std::vector<float>{nan}, std::vector<float>{1, kInf},
        std::vector<float>{-kInf, -kInf}, std::vector<float>{}}) {
    const absl::Status status = CheckLogits(row);
    CHECK(status.code() == absl::StatusCode::kInternal);
    CHECK(status.message() == "the model produced not-a-number logits");
  }
}

}  // namespace
}  // namespace latentd
