// Random parameters, histories and rows against the oracle, over the whole range of the random
// number.
#include <catch2/catch.hpp>
#include <limits>

#include "engine/sampling/sampler.h"
#include "tests/engine/sampling/random_choice.h"
#include "tests/engine/sampling/sampling_oracle.h"

namespace latentd {
namespace {

// Every number is a small binary fraction, so that bias and penalties are exact in fp32 and ties
// are ties for both sides; quarter steps make ties frequent.
OracleInput RandomInput(Random& random) {
  OracleInput in;
  in.logits.resize(1 + random() % 40);
  const int spread = Pick(random, {1, 8, 60});
  for (float& x : in.logits) {
    x = static_cast<float>(static_cast<int>(random() % static_cast<uint64_t>(2 * spread)) -
                           spread) /
        4;
    if (random() % 9 == 0) x = -std::numeric_limits<float>::infinity();
  }
  in.logits[random() % in.logits.size()] = 1;
  SamplingParams& p = in.params;
  p.temperature = Pick(random, {0.0F, 1e-30F, 0.3F, 0.7F, 1.0F, 1.0F, 1.0F, 2.0F, 100.0F});
  p.top_k = Pick(random, {0, 0, 1, 2, 3, 7, 1000});
  p.top_p = Pick(random, {1.0F, 1.0F, 0.999F, 0.9F, 0.5F, 0.1F, 1e-9F});
  p.min_p = Pick(random, {0.0F, 0.0F, 0.01F, 0.05F, 0.3F, 1.0F});
  p.repetition_penalty = Pick(random, {1.0F, 0.5F, 2.0F, 4.0F});
  p.presence_penalty = Pick(random, {0.0F, 0.0F, 0.5F, -1.25F});
  p.frequency_penalty = Pick(random, {0.0F, 0.0F, 0.25F, -0.5F});
  const size_t vocab = in.logits.size();
  for (const uint32_t token : RandomTokens(random, vocab, 3)) {
    p.logit_bias[token] = Pick(random, {-100.0F, -1.5F, 0.25F, 2.0F});
  }
  in.prompt = RandomTokens(random, vocab, 6);
  in.output = RandomTokens(random, vocab, 6);
  in.min_tokens = static_cast<uint32_t>(random() % 8);
  in.ending = RandomTokens(random, vocab, 3);
  return in;
}

ChoiceState StateOf(const OracleInput& in) {
  ChoiceState state(in.params, 0, in.prompt, in.min_tokens, in.ending,
                    static_cast<int64_t>(in.logits.size()));
  for (const uint32_t token : in.output) state.Accept(token);
  return state;
}

// Weights carry a relative error of at most 2⁻²²; a ratio of their sums at most twice that. Masses
// are cut to 2⁻⁴⁰ of the largest: 40 tokens lose 2⁻³⁴.
constexpr double kSlack = 0x1p-20;

bool Covers(const OracleToken& token, uint32_t r) {
  const double u = static_cast<double>(r) * 0x1p-24;
  return token.low < token.high && u >= token.low - kSlack && u <= token.high + kSlack;
}

void CheckAllDraws(const OracleInput& in, const OracleResult& expected) {
  Sampler sampler(static_cast<int64_t>(in.logits.size()));
  const ChoiceState state = StateOf(in);
  size_t k = 0;
  for (uint32_t r = 0; r < (1U << 24); r += (1U << 24) / 509) {
    const uint32_t token = sampler.DrawAt(state, in.logits, r).value();
    while (k < expected.kept.size() && expected.kept[k].token != token) ++k;
    const bool in_order =
        k < expected.kept.size();  // kept, and not before the token of a smaller r
    if (in_order && Covers(expected.kept[k], r)) continue;
    FAIL("r = " << r << " gave token " << token << (in_order ? "" : ", out of order"));
  }
}

TEST_CASE("Draws follow the oracle's inverse CDF under every combination of filters") {
  Random random(20240607);
  int compared = 0, empty = 0, close = 0;
  for (int round = 0; round < 3000; ++round) {
    const OracleInput in = RandomInput(random);
    const OracleResult expected = SampleOracle(in);
    if (expected.close_call) {
      ++close;
    } else if (expected.kept.empty()) {
      ++empty;
      Sampler sampler(static_cast<int64_t>(in.logits.size()));
      REQUIRE(sampler.Draw(StateOf(in), in.logits).status().code() ==
              absl::StatusCode::kInvalidArgument);
    } else {
      ++compared;
      CheckAllDraws(in, expected);
    }
  }
  CHECK(compared > 2500);
  CHECK(empty > 5);
  CHECK(close < 150);
}

TEST_CASE("A large vocabulary is drawn from as a small one") {
  // 64 groups of 1024 equal logits, shuffled by a stride: the order within a group is by id.
  constexpr uint32_t kVocab = 65536;
  std::vector<float> logits(kVocab);
  for (uint32_t i = 0; i < kVocab; ++i)
    logits[i] = -static_cast<float>((i * 2654435761U) >> 26) / 4;
  OracleInput in;
  in.logits = logits;
  const float top_p = GENERATE(1.0F, 0.9F, 0.3F);
  in.params.top_p = top_p;
  in.params.top_k = GENERATE(0, 30000);
  const OracleResult expected = SampleOracle(in);
  REQUIRE_FALSE(expected.close_call);
  Sampler sampler(kVocab);
  const ChoiceState state = StateOf(in);
  for (uint32_t r = 0; r < (1U << 24); r += (1U << 24) / 97) {
    const uint32_t token = sampler.DrawAt(state, logits, r).value();
    const auto it = std::find_if(expected.kept.begin(), expected.kept.end(),
                                 [&](const OracleToken& t) { return t.token == token; });
    REQUIRE(it != expected.kept.end());
    REQUIRE(Covers(*it, r));
  }
}

}  // namespace
}  // namespace latentd
