// Elastic width: a width is the leading slice of every matrix (latent-attention.md section 4). The
// oracle is a model of that size whose weights are copies of the slices, run at its own full width.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "tests/engine/model/model_runner.h"

namespace latentd {
namespace {

constexpr int64_t kQ = 24, kKv = 100, kRope = 8;  // full ranks; kKv spans two units of 64

ModelConfig ElasticGeometry(KeyNorm norm, int64_t rope_dim = kRope) {
  ModelConfig config = Geometry();
  config.kv_lora_rank = kKv;
  config.intermediate_size = 300;
  config.key_norm = norm;
  config.num_kv_groups = 3;
  config.qk_rope_head_dim = rope_dim;
  if (rope_dim == 0) config.rope.inv_freq.clear();
  config.elastic = ElasticConfig{{kQ}, {kKv}, true, true};
  return config;
}

// Copies chosen rows, and of each the leading columns.
WeightView CopySlice(RandomModel* to, const WeightView& from,
                     const std::vector<std::pair<int64_t, int64_t>>& row_ranges, int64_t cols) {
  auto& data = to->storage.emplace_back(std::make_unique<std::vector<float>>());
  for (const auto& [first, count] : row_ranges) {
    for (int64_t i = first; i < first + count; ++i) {
      const auto* row = static_cast<const float*>(from.data) + i * from.ld;
      data->insert(data->end(), row, row + cols);
    }
  }
  const auto rows = static_cast<int64_t>(data->size()) / cols;
  return {data->data(), DType::kF32, rows, cols, cols};
}

RandomModel Sliced(const RandomModel& model, Width width) {
  const ModelConfig& full = model.config;
  RandomModel out{full, model.weights, {}};
  ModelConfig& config = out.config;
  config.elastic.reset();
  config.q_lora_rank = width.q;
  config.kv_lora_rank = width.kv;
  config.intermediate_size = std::min(full.intermediate_size, 4 * std::max(width.q, width.kv));
  const int64_t d = full.hidden_size, d_r = full.qk_rope_head_dim;
  for (LayerWeights& w : out.weights.layers) {
    if (width.q > 0) {
      w.q_a_proj = CopySlice(&out, w.q_a_proj, {{0, width.q}}, d);
      w.q_a_norm.resize(static_cast<size_t>(width.q));
      w.q_b_proj = CopySlice(&out, w.q_b_proj, {{0, w.q_b_proj.rows}}, width.q);
    }
    w.kv_a_proj = CopySlice(&out, w.kv_a_proj, {{0, width.kv}, {kKv, d_r}}, d);
    w.kv_a_norm.resize(static_cast<size_t>(width.kv));
    if (!w.kv_a_bias.empty()) {
      w.kv_a_bias.erase(w.kv_a_bias.begin() + width.kv, w.kv_a_bias.begin() + kKv);
      w.q_a_bias.resize(static_cast<size_t>(width.q));
    }
    w.kv_b_proj = CopySlice(&out, w.kv_b_proj, {{0, w.kv_b_proj.rows}}, width.kv);
    const int64_t units = config.intermediate_size;
    w.mlp = {CopySlice(&out, w.mlp.gate, {{0, units}}, d),
             CopySlice(&out, w.mlp.up, {{0, units}}, d),
             CopySlice(&out, w.mlp.down, {{0, d}}, units)};
  }
  return out;
}

void RequireSameBits(const std::vector<std::vector<float>>& got,
                     const std::vector<std::vector<float>>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t t = 0; t < got.size(); ++t) {
    CAPTURE(t);
    REQUIRE(std::memcmp(got[t].data(), expected[t].data(), got[t].size() * sizeof(float)) == 0);
  }
}

void AddBiases(RandomModel* model) {
  model->config.attention_bias = true;
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto bias = [&](int64_t size) {
    std::vector<float> out(static_cast<size_t>(size));
    for (float& v : out) v = uniform(random);
    return out;
  };
  for (LayerWeights& w : model->weights.layers) {
    w.q_a_bias = bias(model->config.q_lora_rank);
    w.kv_a_bias = bias(kKv + model->config.qk_rope_head_dim);
    w.o_bias = bias(model->config.hidden_size);
  }
}

}  // namespace

TEST_CASE("a width is the model made of its leading slices, bit for bit") {
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (int64_t rope_dim : {int64_t{0}, kRope}) {
      RandomModel model = MakeRandomModel(ElasticGeometry(norm, rope_dim), 21);
      if (norm == KeyNorm::kNone) AddBiases(&model);
      const std::vector<uint32_t> ids = Tokens(70, 22);
      // In the last the MLP follows the query.
      for (Width width :
           {Width{1, 1}, Width{7, 37}, Width{24, 64}, Width{23, 65}, Width{9, 100}, Width{23, 5}}) {
        CAPTURE(static_cast<int>(norm), rope_dim, width.q, width.kv);
        RequireSameBits(RunWhole(model, ids, width), RunWhole(Sliced(model, width), ids));
      }
    }
  }
}

TEST_CASE("relaxed: the expanded route of a width is that of its leading slices, bit for bit") {
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    const RandomModel model = MakeRandomModel(ElasticGeometry(norm), 33);
    const std::vector<uint32_t> ids = Tokens(200, 34);
    for (Width width : {Width{7, 37}, Width{24, 64}, Width{23, 65}, Width{9, 100}}) {
      CAPTURE(static_cast<int>(norm), width.q, width.kv);
      const auto run = [&](const RandomModel& m, Width w, Determinism determinism) {
        return RunWhole(m, ids, w, BestCpuPath(), determinism);
      };
      const auto relaxed = run(model, width, Determinism::kRelaxed);
      RequireSameBits(relaxed, run(Sliced(model, width), {}, Determinism::kRelaxed));
      CHECK(relaxed != run(model, width, Determinism::kStrict));  // it did take another route
    }
  }
}

TEST_CASE("a model without a query rank is narrowed on its latent alone") {
  ModelConfig config = ElasticGeometry(KeyNorm::kNone);
  config.q_lora_rank = 0;
  const RandomModel model = MakeRandomModel(config, 23);
  const std::vector<uint32_t> ids = Tokens(40, 24);
  RequireSameBits(RunWhole(model, ids, {0, 30}), RunWhole(Sliced(model, {0, 30}), ids));
}

TEST_CASE("without the MLP rule every unit is used") {
  ModelConfig config = ElasticGeometry(KeyNorm::kNone);
  RandomModel with = MakeRandomModel(config, 25);
  RandomModel without = MakeRandomModel(config, 25);
  without.config.elastic->mlp_follows = false;
  const std::vector<uint32_t> ids = Tokens(5, 26);
  // 4·max(24, 75) is exactly the 300 units, 4·max(24, 74) is less.
  RequireSameBits(RunWhole(with, ids, {24, 75}), RunWhole(without, ids, {24, 75}));
  CHECK(RunWhole(with, ids, {24, 74}) != RunWhole(without, ids, {24, 74}));
}

TEST_CASE("sequences of several widths share a step without touching each other's bits") {
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise}) {
    const RandomModel model = MakeRandomModel(ElasticGeometry(norm), 27);
    // Equal in both ranks, in one, in none.
    const std::vector<Width> widths = {{24, 100}, {7, 37}, {24, 100}, {3, 65}, {7, 37}, {24, 65}};
    for (int64_t chunk : {1, 13, 64}) {
      for (int threads : {1, 2}) {
        CAPTURE(static_cast<int>(norm), chunk, threads);
        Runner runner(model, threads);
        std::vector<Runner::Sequence> sequences;
        for (size_t i = 0; i < widths.size(); ++i) {
          sequences.push_back(runner.NewSequence(Tokens(66, 30), widths[i]));
        }
        // One joins at each step, so that neighbours are at different positions.
        for (size_t joined = 1; sequences.back().computed < 66; ++joined) {
          std::vector<std::pair<Runner::Sequence*, int64_t>> portions;
          for (size_t i = 0; i < std::min(joined, sequences.size()); ++i) {
            Runner::Sequence& s = sequences[i];
            if (s.computed < 66) portions.push_back({&s, std::min(chunk, 66 - s.computed)});
          }
          runner.Step(portions);
        }
        for (size_t i = 0; i < widths.size(); ++i) {
          CAPTURE(i);
          RequireSameBits(sequences[i].logits, RunWhole(model, Tokens(66, 30), widths[i]));
        }
      }
    }
  }
}

TEST_CASE("a cancelled sequence leaves the neighbours of every width as they are") {
  const RandomModel model = MakeRandomModel(ElasticGeometry(KeyNorm::kUnified), 31);
  const std::vector<Width> widths = {{24, 100}, {7, 37}, {7, 37}, {24, 100}, {3, 65}};
  for (size_t gone = 0; gone < widths.size(); ++gone) {
    Runner runner(model, 1);
    const std::vector<uint32_t> ids = Tokens(20, 32);
    const std::atomic<bool> cancelled = true;
    std::vector<Runner::Sequence> sequences;
    StepPlan plan;
    for (const Width& width : widths) sequences.push_back(runner.NewSequence(ids, width));
    for (size_t i = 0; i < widths.size(); ++i) {
      PlanEntry& entry = plan.entries.emplace_back();
      entry.token_ids = sequences[i].ids;
      entry.block_table = sequences[i].table;
      entry.width_q = widths[i].q;
      entry.width_kv = widths[i].kv;
      entry.cancelled = i == gone ? &cancelled : nullptr;
    }
    std::vector<EntryOutcome> outcomes;
    runner.executor->Run(
        plan,
        [&](size_t entry, int64_t, std::span<float> row) {
          sequences[entry].logits.emplace_back(row.begin(), row.end());
        },
        &outcomes);
    for (size_t i = 0; i < widths.size(); ++i) {
      CAPTURE(gone, i);
      CHECK(outcomes[i] == (i == gone ? EntryOutcome::kCancelled : EntryOutcome::kDone));
      if (i == gone) {
        CHECK(sequences[i].logits.empty());
      } else {
        RequireSameBits(sequences[i].logits, RunWhole(model, ids, widths[i]));
      }
    }
  }
}

}  // namespace latentd
