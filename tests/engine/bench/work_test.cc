// The lower bounds that bench divides by, against the matrices of a model in memory.
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/bench/work.h"
#include "tests/engine/model/random_model.h"

namespace latentd {
namespace {

ModelConfig Geometry() {
  ModelConfig config;
  config.hidden_size = 24;
  config.num_layers = 3;
  config.num_heads = config.num_kv_groups = 4;
  config.q_lora_rank = 10;
  config.kv_lora_rank = 16;
  config.qk_nope_head_dim = 6;
  config.qk_rope_head_dim = 4;
  config.v_head_dim = 8;
  config.intermediate_size = 40;
  config.vocab_size = 50;
  return config;
}

double Size(const WeightView& w) { return static_cast<double>(w.rows * w.cols); }

// Every element that a step reads: all matrices but the embedding.
double AllElements(const Weights& weights) {
  double sum = Size(weights.lm_head);
  for (const LayerWeights& w : weights.layers) {
    sum += Size(w.q_proj) + Size(w.q_a_proj) + Size(w.q_b_proj) + Size(w.kv_a_proj) +
           Size(w.kv_b_proj) + Size(w.o_proj) + Size(w.mlp.gate) + Size(w.mlp.up) +
           Size(w.mlp.down);
  }
  return sum;
}

BenchWork Decode(const ModelConfig& config, int64_t depth, int64_t batch) {
  return {BenchWork::Kind::kDecode, depth, batch, 1, config.full_width()};
}
BenchWork Prefill(const ModelConfig& config, int64_t depth, int64_t tokens) {
  return {BenchWork::Kind::kPrefill, depth, 1, tokens, config.full_width()};
}

}  // namespace

TEST_CASE("kv_b_proj and the head count with their own bytes", "[bench]") {
  const ModelConfig config = Geometry();
  const auto bytes = [&](double projection, double kv_b, double head = 0) {
    return CostOf(config, {projection, kv_b, head}, 0, 1, Decode(config, 0, 1)).bytes;
  };
  const auto kv_b_elements =
      static_cast<double>(config.num_layers * config.num_kv_groups *
                          (config.qk_nope_head_dim + config.v_head_dim) * config.kv_lora_rank);
  CHECK(bytes(0, 2) == 2 * kv_b_elements);
  CHECK(bytes(1, 2) == bytes(1, 0) + 2 * kv_b_elements);
  CHECK(bytes(0, 0, 3) == static_cast<double>(3 * config.vocab_size * config.hidden_size));
}

TEST_CASE("a decode step reads every matrix once and each sequence's cache") {
  const bool direct_query = GENERATE(false, true);
  ModelConfig config = Geometry();
  if (direct_query) config.q_lora_rank = 0;
  const RandomModel model = MakeRandomModel(config, 1);
  const double elements = AllElements(model.weights);
  const WorkCost cost = CostOf(config, {2, 2, 2}, 100, 512, Decode(config, 7, 5));
  CHECK(cost.bytes == 2 * elements + 5 * 8 * 100);
  // With as many groups as heads, each of the 5 tokens uses each element once; each of their 8
  // pairs costs 2·H·(2r + d_r) a layer.
  CHECK(cost.flops == 2 * 5 * elements + 5 * 8 * 2 * 3 * 4 * (2 * 16 + 4));
}

TEST_CASE("groups shared by heads are read once and used by each head") {
  ModelConfig config = Geometry();
  config.num_kv_groups = 2;
  const double all_groups = CostOf(Geometry(), {1, 1, 1}, 0, 1, Decode(config, 0, 1)).bytes;
  const WorkCost cost = CostOf(config, {1, 1, 1}, 0, 1, Decode(config, 0, 1));
  CHECK(all_groups - cost.bytes == 3 * 2 * (6 + 8) * 16);
  CHECK(cost.flops == CostOf(Geometry(), {1, 1, 1}, 0, 1, Decode(config, 0, 1)).flops);
  config.key_norm = KeyNorm::kBlockwise;  // α needs the keys of every group
  CHECK(CostOf(config, {1, 1, 1}, 0, 1, Decode(config, 0, 1)).flops - cost.flops ==
        2 * 3 * 2 * 6 * 16);
}

TEST_CASE("a prefill cut into steps computes the same and reads the weights again") {
  const ModelConfig config = Geometry();
  const WorkCost whole = CostOf(config, {2, 2, 2}, 100, 64, Prefill(config, 10, 64));
  const WorkCost halves = CostOf(config, {2, 2, 2}, 100, 32, Prefill(config, 10, 64));
  CHECK(halves.flops == whole.flops);
  const double layers = AllElements(MakeRandomModel(config, 1).weights) - 50 * 24;
  CHECK(halves.bytes - whole.bytes == 2 * layers + (10 + 32) * 100);
}

TEST_CASE("of experts, those that the work read, however many tokens chose them") {
  ModelConfig config = Geometry();
  config.moe = MoeConfig{};
  config.moe->router.num_experts = 8;
  config.moe->router.top_k = 3;
  config.moe->expert_intermediate_size = 5;
  config.moe->num_dense_layers = 1;
  const double expert = 3 * 24 * 5;
  for (const BenchWork& work :
       {Decode(config, 0, 1), Decode(config, 0, 9), Prefill(config, 0, 9)}) {
    const WorkCost none = CostOf(config, {2, 2, 2}, 0, 4, work, 0);
    const WorkCost five = CostOf(config, {2, 2, 2}, 0, 4, work, 5);
    CHECK(five.bytes - none.bytes == 5 * 2 * expert);
    CHECK(five.flops == none.flops);
  }
  // Each token uses three experts in each of two layers, whoever else reads them.
  const auto flops = [&](int64_t batch) {
    return CostOf(config, {1, 1, 1}, 0, 64, Decode(config, 0, batch), 1).flops;
  };
  ModelConfig more = config;
  more.moe->router.top_k = 4;
  CHECK(CostOf(more, {1, 1, 1}, 0, 64, Decode(more, 0, 9), 1).flops - flops(9) ==
        2 * 9 * 2 * expert);
}

TEST_CASE("the fewest experts are one token's in each step, identities first") {
  ModelConfig config = Geometry();
  CHECK(LeastExpertRuns(config, 4, Decode(config, 0, 9)) == 0);
  config.moe = MoeConfig{};
  config.moe->router.num_experts = 8;
  config.moe->router.top_k = 3;
  config.moe->num_dense_layers = 1;
  CHECK(LeastExpertRuns(config, 4, Decode(config, 0, 9)) == 2 * 3);
  CHECK(LeastExpertRuns(config, 4, Prefill(config, 0, 9)) == 3 * 2 * 3);
  config.moe->num_identity_experts = 2;
  CHECK(LeastExpertRuns(config, 4, Decode(config, 0, 9)) == 2 * 1);
  config.moe->num_identity_experts = 4;
  CHECK(LeastExpertRuns(config, 4, Decode(config, 0, 9)) == 0);
  config.moe->num_identity_experts = 0;
  config.moe->num_dense_layers = 0;
  config.moe->is_shortcut = true;  // beside layers 0 and 2
  CHECK(LeastExpertRuns(config, 4, Decode(config, 0, 9)) == 2 * 3);
}

TEST_CASE("experts beside every even layer's MLP") {
  ModelConfig config = Geometry();
  config.moe = MoeConfig{};
  config.moe->router.num_experts = 8;
  config.moe->router.top_k = 2;
  config.moe->num_identity_experts = 5;
  config.moe->expert_intermediate_size = 5;
  config.moe->is_shortcut = true;
  const WorkCost dense = CostOf(Geometry(), {1, 1, 1}, 0, 64, Decode(config, 0, 1));
  const WorkCost one = CostOf(config, {1, 1, 1}, 0, 64, Decode(config, 0, 1), 4);
  // Layers 0 and 2 of three: a router and two experts for one token.
  CHECK(one.bytes - dense.bytes == 2 * (24 * 8 + 2 * 3 * 24 * 5));
  CHECK(one.flops - dense.flops == 2 * 2 * (24 * 8 + 2 * 3 * 24 * 5));
}

TEST_CASE("a narrow width reads leading slices") {
  ModelConfig config = Geometry();
  config.elastic = ElasticConfig{{5, 10}, {4, 16}, false, true};
  const Width narrow{5, 4};
  BenchWork work = Decode(config, 0, 1);
  work.width = narrow;
  // The model that has these ranks as its full ones, and an MLP of 4·max(5, 4) units.
  ModelConfig small = Geometry();
  small.q_lora_rank = narrow.q;
  small.kv_lora_rank = narrow.kv;
  small.intermediate_size = 20;
  CHECK(CostOf(config, {2, 2, 2}, 8, 64, work).bytes ==
        CostOf(small, {2, 2, 2}, 8, 64, Decode(small, 0, 1)).bytes);
  CHECK(CostOf(config, {2, 2, 2}, 8, 64, work).flops ==
        CostOf(small, {2, 2, 2}, 8, 64, Decode(small, 0, 1)).flops);
}

}  // namespace latentd
