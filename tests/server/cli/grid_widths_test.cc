#include "server/cli/grid_widths.h"

#include <catch2/catch.hpp>

namespace latentd {
namespace {

using Ranks = std::vector<uint32_t>;

v1::Model ElasticModel(bool continuous) {
  v1::Model model;
  model.set_id("small");
  model.set_q_lora_rank(96);
  model.set_kv_lora_rank(64);
  for (const uint32_t rank : {32, 96}) model.mutable_elastic()->add_q_ranks(rank);
  for (const uint32_t rank : {8, 16, 64}) model.mutable_elastic()->add_kv_ranks(rank);
  model.mutable_elastic()->set_continuous(continuous);
  return model;
}

std::string Refusal(const v1::Model& model, const Ranks& q, const Ranks& kv) {
  const auto ranks = ResolveGrid(model, q, kv);
  REQUIRE_FALSE(ranks.ok());
  CHECK(ranks.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(ranks.status().message());
}

TEST_CASE("An axis without a range takes the listed ranks") {
  const auto all = ResolveGrid(ElasticModel(false), {}, {});
  REQUIRE(all.ok());
  CHECK(all->q == Ranks{32, 96});
  CHECK(all->kv == Ranks{8, 16, 64});
  const auto half = ResolveGrid(ElasticModel(false), {96}, {});
  REQUIRE(half.ok());
  CHECK(half->q == Ranks{96});
  CHECK(half->kv == Ranks{8, 16, 64});
}

TEST_CASE("Ranks that the checkpoint does not allow are refused, with those it does") {
  CHECK_THAT(Refusal(ElasticModel(false), {48}, {}), Catch::Contains("--q takes ranks 32, 96"));
  CHECK_THAT(Refusal(ElasticModel(false), {}, {8, 24}),
             Catch::Contains("--kv takes ranks 8, 16, 64") && Catch::Contains("not 24"));
  CHECK_THAT(Refusal(ElasticModel(true), {97}, {}), Catch::Contains("from 1 to 96"));
  const auto odd = ResolveGrid(ElasticModel(true), {1, 37}, {61});
  REQUIRE(odd.ok());
  CHECK(odd->q == Ranks{1, 37});
  CHECK(odd->kv == Ranks{61});
}

TEST_CASE("A model of fixed width has no grid") {
  v1::Model model = ElasticModel(false);
  model.clear_elastic();
  CHECK_THAT(Refusal(model, {}, {}),
             Catch::Contains("small has the fixed width of q 96 and kv 64"));
}

TEST_CASE("A model without a query rank has one axis") {
  v1::Model model = ElasticModel(false);
  model.set_q_lora_rank(0);
  model.mutable_elastic()->clear_q_ranks();
  const auto ranks = ResolveGrid(model, {}, {});
  REQUIRE(ranks.ok());
  CHECK(ranks->q == Ranks{0});
  CHECK_THAT(Refusal(model, {8}, {}), Catch::Contains("--q does not apply"));
  const auto pairs = AllPairs(*ranks);
  REQUIRE(pairs.size() == 3);
  CHECK_FALSE(pairs[0]->has_q());
  CHECK(pairs[0]->kv() == 8);
}

TEST_CASE("Pairs go over kv first") {
  const auto pairs = AllPairs({{32, 96}, {8, 16, 64}});
  REQUIRE(pairs.size() == 6);
  CHECK(pairs[1]->q() == 32);
  CHECK(pairs[1]->kv() == 16);
  CHECK(pairs[3]->q() == 96);
  CHECK(pairs[3]->kv() == 8);
}

}  // namespace
}  // namespace latentd
