// The validator: widths.
#include <string>

#include "server/cat.h"
#include "tests/server/validate_fixture.h"

namespace latentd {
namespace {

using testing::Bad;
using testing::CheckBad;
using testing::Demo;
using testing::Parse;

TEST_CASE("An inelastic model without a query rank takes its own width only") {
  ServedModel model = Demo();
  model.q_rank = 0;
  CHECK(ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { kv: 128 }"), model).ok());
  CheckBad(
      ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { q: 192 }"), model).status(),
      {"width", "width.q must be 0, the only rank of this model, got 192", "width.q"});
}

TEST_CASE("An elastic model takes the ranks it lists, in any pairing") {
  ServedModel model = Demo();
  model.elastic = ElasticConfig{{64, 128, 192}, {32, 128}, false, true};
  struct Good {
    const char* width;
    int64_t q, kv;
  };
  const Good kGood[] = {{"", 192, 128},
                        {"width {}", 192, 128},
                        {"width { q: 64 }", 64, 128},
                        {"width { kv: 32 }", 192, 32},
                        {"width { q: 128 kv: 32 }", 128, 32},
                        {"width { q: 192 kv: 128 }", 192, 128}};
  for (const Good& good : kGood) {
    CAPTURE(good.width);
    const std::string text = Cat("text: 'a' ", good.width);
    const auto engine = ValidateGenerate(Parse<v1::GenerateRequest>(text), model);
    REQUIRE(engine.ok());
    CHECK(engine->width_q == good.q);
    CHECK(engine->width_kv == good.kv);
    const auto score = ValidateScore(Parse<v1::ScoreRequest>(text), model);
    REQUIRE(score.ok());
    CHECK(score->width_q == good.q);
    CHECK(score->width_kv == good.kv);
  }
  const Bad kBad[] = {
      {"text: 'a' width { q: 63 }", "width.q must be one of 64, 128, 192, got 63", "width.q"},
      {"text: 'a' width { q: 0 }", "width.q must be one of 64, 128, 192, got 0", "width.q"},
      {"text: 'a' width { q: 64 kv: 64 }", "width.kv must be one of 32, 128, got 64", "width.kv"},
      {"text: 'a' width { kv: 4294967295 }", "width.kv must be one of 32, 128, got 4294967295",
       "width.kv"}};
  for (const Bad& bad : kBad) {
    CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>(bad.request), model).status(), bad);
    CheckBad(ValidateScore(Parse<v1::ScoreRequest>(bad.request), model).status(), bad);
  }
}

TEST_CASE("The policy decides only where a request names no width at all") {
  ServedModel model = Demo();
  model.elastic = ElasticConfig{{64, 192}, {32, 128}, false, true};
  for (const bool policy : {false, true}) {
    model.width_by_policy = policy;
    for (const auto& [width, named] : {std::pair("", false),
                                       {"width {}", false},
                                       {"width { q: 192 }", true},
                                       {"width { kv: 32 }", true}}) {
      CAPTURE(policy, width);
      const std::string text = Cat("text: 'a' ", width);
      CHECK(ValidateGenerate(Parse<v1::GenerateRequest>(text), model)->width_by_policy ==
            (policy && !named));
      CHECK(ValidateScore(Parse<v1::ScoreRequest>(text), model)->width_by_policy ==
            (policy && !named));
    }
  }
}

TEST_CASE("A continuous model takes every rank from 1 to the full one") {
  ServedModel model = Demo();
  model.elastic = ElasticConfig{{64, 192}, {128}, true, true};
  for (const char* width : {"q: 1 kv: 1", "q: 191 kv: 127", "q: 65", "kv: 37"}) {
    CAPTURE(width);
    const std::string text = Cat("text: 'a' width { ", width, " }");
    CHECK(ValidateGenerate(Parse<v1::GenerateRequest>(text), model).ok());
  }
  const Bad kBad[] = {
      {"text: 'a' width { q: 0 }", "width.q must be between 1 and 192, got 0", "width.q"},
      {"text: 'a' width { q: 193 }", "width.q must be between 1 and 192, got 193", "width.q"},
      {"text: 'a' width { kv: 129 }", "width.kv must be between 1 and 128, got 129", "width.kv"}};
  for (const Bad& bad : kBad) {
    CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>(bad.request), model).status(), bad);
  }
  model.elastic->continuous = true;
  model.elastic->q_lora_ranks.clear();  // no query rank
  model.q_rank = 0;
  CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { q: 1 }"), model).status(),
           {"width", "width.q must be 0, the only rank of this model, got 1", "width.q"});
}

TEST_CASE("A long list of ranks is cut in the message") {
  ServedModel model = Demo();
  model.q_rank = 100'000;
  model.elastic = ElasticConfig{{}, {128}, false, true};
  for (int64_t rank = 99'801; rank <= 100'000; ++rank) model.elastic->q_lora_ranks.push_back(rank);
  const absl::Status status =
      ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { q: 1 }"), model).status();
  const std::string message(status.message());
  CHECK(message.size() <= 800);
  CHECK_THAT(message, Catch::StartsWith("width.q must be one of 99801, 99802, ") &&
                          Catch::EndsWith("99864 … 100000, got 1"));
}

}  // namespace
}  // namespace latentd
