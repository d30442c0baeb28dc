// Elastic width: a width is the leading slice of every matrix (latent-attention.md section 4). The
// oracle is a model of that size whose weights are copies of the slices, run at its own full width.
#include <catch2/catch.hpp>

#include "tests/engine/model/sliced_model.h"

namespace latentd {

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
