// Decode steps as graphs, over the emulated device: a graph reads its inputs when it runs, so that
// whatever a capture should not have kept shows in the bits.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/model/expert_models.h"
#include "tests/engine/model/sliced_model.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

StepLimits Limits(int64_t max_graphs) {
  return {.max_rows = 20,
          .max_sequences = 12,
          .max_context = 4096,
          .partial_bytes = 1 << 22,
          .max_graphs = max_graphs};
}

// Two executors of one model with the same latents in the same places, of which one has graphs.
class Pair {
 public:
  explicit Pair(const RandomModel& model, int64_t num_blocks = 40, int64_t max_graphs = 32)
      : with_(model.config, model.weights, Limits(max_graphs), num_blocks),
        without_(model.config, model.weights, Limits(0), num_blocks) {
    // Numbers of about one, read as bf16 and as fp32: contexts need no prefill.
    std::mt19937 rng(3);
    std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
    const DevicePool pool = with_.executor->pool(), other = without_.executor->pool();
    const std::span latents(reinterpret_cast<bf16*>(pool.base),
                            static_cast<size_t>(pool.bytes) / sizeof(bf16));
    for (bf16& value : latents) value = ToBf16(rng() % 2 == 0 ? uniform(rng) : -uniform(rng));
    std::memcpy(other.base, pool.base, static_cast<size_t>(pool.bytes));
    allocations_ = cuda::EmulatedAllocations();
  }

  // A sequence that stands at `computed` and may grow to `length`; its number.
  size_t Add(int64_t computed, int64_t length, Width width = {}) {
    const std::vector<uint32_t> ids = Tokens(static_cast<size_t>(length), seed_++);
    for (auto& [runner, sequences] : {Side{with_, sequences_}, Side{without_, others_}}) {
      sequences.push_back(runner.NewSequence(ids, width));
      sequences.back().computed = computed;
    }
    return sequences_.size() - 1;
  }

  // So many tokens of each of these, on both; their logits and all latents have the same bits.
  void Step(const std::vector<std::pair<size_t, int64_t>>& portions) {
    for (auto& [runner, sequences] : {Side{with_, sequences_}, Side{without_, others_}}) {
      std::vector<std::pair<StepRunner::Sequence*, int64_t>> own;
      for (const auto& [i, count] : portions) own.push_back({&sequences[i], count});
      runner.Step(own);
    }
    for (const auto& [i, count] : portions) {
      RequireSameBits(sequences_[i].logits, others_[i].logits);
    }
    const DevicePool pool = with_.executor->pool(), other = without_.executor->pool();
    REQUIRE(std::memcmp(pool.base, other.base, static_cast<size_t>(pool.bytes)) == 0);
    REQUIRE(cuda::EmulatedAllocations() == allocations_);
  }
  void Decode(const std::vector<size_t>& numbers) {
    std::vector<std::pair<size_t, int64_t>> portions;
    for (const size_t i : numbers) portions.push_back({i, 1});
    Step(portions);
  }

  // Captured since the start.
  uint64_t Captures() const { return cuda::EmulatedCaptures() - captures_; }
  bool Ended(size_t i) const {
    return sequences_[i].computed == static_cast<int64_t>(sequences_[i].ids.size());
  }
  StepRunner::Sequence& Get(size_t i) { return sequences_[i]; }
  CudaExecutor& WithGraphs() { return *with_.executor; }

 private:
  struct Side {
    DeviceRunner& runner;
    std::vector<StepRunner::Sequence>& sequences;
  };

  DeviceRunner with_, without_;
  std::vector<StepRunner::Sequence> sequences_, others_;
  uint32_t seed_ = 1;
  uint64_t allocations_ = 0;
  uint64_t captures_ = cuda::EmulatedCaptures();
};

ModelConfig BlockwiseGeometry() {
  ModelConfig config = Geometry();
  config.key_norm = KeyNorm::kBlockwise;
  config.num_kv_groups = 3;
  config.rope.query_beta = 0.3;
  config.rope.query_context = 16;
  return config;
}

// Sequences come and go and change places; now and then one of them has several tokens.
void RunRandomSteps(const RandomModel& model, int num_steps, uint32_t seed) {
  Pair pair(model, 110);
  std::mt19937 rng(seed);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution(low, high)(rng);
  };
  std::vector<size_t> active;
  int added = 0;
  for (int step = 0; step < num_steps; ++step) {
    CAPTURE(seed, step, active.size());
    while (active.empty() || (active.size() < 9 && added < 50 && pick(0, 2) > 0)) {
      const int64_t computed = pick(0, 100);
      active.push_back(pair.Add(computed, computed + pick(1, 25)));
      ++added;
    }
    std::shuffle(active.begin(), active.end(), rng);
    std::vector<std::pair<size_t, int64_t>> portions;
    for (const size_t i : active) portions.push_back({i, 1});
    if (pick(0, 7) == 0) {
      const StepRunner::Sequence& s = pair.Get(active[0]);
      portions[0].second = std::min<int64_t>(static_cast<int64_t>(s.ids.size()) - s.computed, 4);
    }
    pair.Step(portions);
    std::erase_if(active, [&](size_t i) { return pair.Ended(i) || pick(0, 9) == 0; });
  }
  // 1 … 9 rows are padded to 1, 2, 3, 4, 6, 8, 12; contexts of one unit make an item of each
  // sequence, by whole groups, padded to 3, 6, 12: for a number of rows always the same.
  CHECK(pair.Captures() <= 7);
  CHECK(pair.Captures() >= 4);
}

}  // namespace

TEST_CASE("decode steps have the same bits as graphs, whoever comes and goes") {
  RunRandomSteps(MakeRandomModel(BlockwiseGeometry(), 1, DType::kBF16), 40, 1);
  ModelConfig unified = Geometry();
  unified.key_norm = KeyNorm::kUnified;
  RunRandomSteps(MakeRandomModel(unified, 2), 20, 2);
  for (const ModelConfig& config : ExpertGeometries()) {
    RunRandomSteps(MakeRandomModel(config, 3), 15, 3);
  }
}

// On four processors the tiles are read in pairs: in chunks of a prompt too, which no graph runs.
TEST_CASE("graphs serve heads of two tiles, whose bits are the same in pairs and on their own") {
  ModelConfig config = Geometry();
  config.num_heads = 66;
  config.num_kv_groups = 3;
  config.qk_nope_head_dim = config.v_head_dim = 4;
  const RandomModel model = MakeRandomModel(config, 4);
  std::vector<std::vector<float>> logits;
  for (const int processors : {3, 4}) {
    cuda::SetEmulatedProcessors(processors);
    Pair pair(model);
    const std::vector<size_t> all = {pair.Add(3, 20), pair.Add(70, 90), pair.Add(0, 20),
                                     pair.Add(9, 20), pair.Add(200, 210)};
    for (int step = 0; step < 3; ++step) pair.Decode(all);
    CHECK(pair.Captures() == 1);
    pair.Step({{all[0], 7}, {all[1], 1}, {all[2], 2}});
    std::vector<std::vector<float>> own;
    for (const size_t i : all) {
      for (const std::vector<float>& row : pair.Get(i).logits) own.push_back(row);
    }
    if (logits.empty()) logits = own;
    RequireSameBits(own, logits);
  }
  cuda::SetEmulatedProcessors(3);
}

TEST_CASE("contexts that grow across units and groups need few graphs") {
  const RandomModel model = MakeRandomModel(BlockwiseGeometry(), 5);
  Pair pair(model, 120);
  // Alone, on three processors: one item; with 513 tokens two units are faster than one group; with
  // 2047 they are four, and with 2049 five, padded to six.
  const size_t alone = pair.Add(509, 516), deep = pair.Add(2046, 2052);
  while (!pair.Ended(alone)) pair.Decode({alone});
  CHECK(pair.Captures() == 2);
  while (!pair.Ended(deep)) pair.Decode({deep});
  CHECK(pair.Captures() == 3);
  // And as the neighbours of a short one, in any order: six units, then seven and eight.
  const size_t a = pair.Add(510, 514), b = pair.Add(2045, 2049), c = pair.Add(30, 40);
  for (int step = 0; step < 4; ++step) {
    pair.Decode(step % 2 == 0 ? std::vector<size_t>{a, b, c} : std::vector<size_t>{c, b, a});
  }
  CHECK(pair.Captures() == 5);
}

TEST_CASE("a sequence that was cancelled before its step keeps it from the graphs") {
  const RandomModel model = MakeRandomModel(Geometry(), 6);
  Pair pair(model);
  const size_t gone = pair.Add(10, 20), left = pair.Add(20, 30);
  pair.Decode({gone, left});
  REQUIRE(pair.Captures() == 1);

  std::atomic<bool> cancelled = false;
  StepPlan plan;
  for (const size_t i : {gone, left}) {
    plan.entries.push_back(StepRunner::EntryOf(pair.Get(i), 1));
  }
  plan.entries[0].cancelled = &cancelled;
  std::vector<EntryOutcome> outcomes;
  std::vector<std::vector<float>> logits;
  const auto run = [&] {
    logits.clear();
    pair.WithGraphs().Run(
        plan,
        [&](size_t, int64_t, std::span<float> row) { logits.emplace_back(row.begin(), row.end()); },
        &outcomes);
  };
  run();
  CHECK(outcomes == std::vector<EntryOutcome>{EntryOutcome::kDone, EntryOutcome::kDone});
  REQUIRE(logits.size() == 2);
  const std::vector<float> expected = logits[1];
  const uint64_t layers = pair.WithGraphs().layers_done();
  CHECK(layers == 4);
  cancelled = true;
  run();
  CHECK(outcomes == std::vector<EntryOutcome>{EntryOutcome::kCancelled, EntryOutcome::kDone});
  RequireSameBits(logits, {expected});
  CHECK(pair.WithGraphs().layers_done() == layers + 2);
  plan.entries.pop_back();
  run();
  CHECK(outcomes == std::vector<EntryOutcome>{EntryOutcome::kCancelled});
  CHECK(pair.WithGraphs().layers_done() == layers + 2);
  CHECK(pair.Captures() == 1);
}

TEST_CASE("a narrower width has graphs of its own, and several widths have none") {
  const RandomModel model = MakeRandomModel(ElasticGeometry(KeyNorm::kBlockwise), 7);
  Pair pair(model);
  const size_t narrow = pair.Add(10, 20, {7, 37}), other = pair.Add(5, 20, {7, 37}),
               full = pair.Add(20, 30), wide = pair.Add(3, 20);
  pair.Decode({narrow, other});
  CHECK(pair.Captures() == 1);
  pair.Decode({full, wide});
  CHECK(pair.Captures() == 2);
  pair.Decode({narrow, full});
  CHECK(pair.Captures() == 2);
  pair.Decode({other, narrow});
  pair.Decode({wide, full});
  CHECK(pair.Captures() == 2);
}

TEST_CASE("with more shapes than graphs, and without memory for one, bits stay the same") {
  const RandomModel model = MakeRandomModel(Geometry(), 8);
  for (const bool fits : {true, false}) {
    Pair pair(model, 40, 2);
    std::vector<size_t> all;
    for (int64_t i = 0; i < 6; ++i) all.push_back(pair.Add(7 * i, 60));
    if (!fits) cuda::SetEmulatedMemory(cuda::EmulatedBytesInUse());
    for (const std::ptrdiff_t count : {1, 2, 6, 2, 1, 6, 5}) {
      pair.Decode({all.begin(), all.begin() + count});
    }
    cuda::SetEmulatedMemory(uint64_t{1} << 30);
    // Captured for 1, 2, for 6 in place of 1, for 1 in place of 6, for 6 in place of 2, which
    // serves 5 too.
    CHECK(pair.Captures() == (fits ? 5 : 0));
  }
}

TEST_CASE("a pool that takes all it may leaves room for graphs") {
  const RandomModel model = MakeRandomModel(Geometry(), 10);
  const ModelConfig& config = model.config;
  constexpr int64_t kBlocks = 30;
  const BlockLayout layout = BlockLayout::Make(config.num_layers, config.kv_lora_rank,
                                               config.qk_rope_head_dim, config.num_alphas());
  const auto weights = (*DeviceWeights::Upload(config, model.weights, {}))->bytes();
  const auto rest = static_cast<uint64_t>(CudaExecutor::WorkBytes(config, layout, Limits(32)) +
                                          kBlocks * layout.block_bytes);
  cuda::SetEmulatedMemory(cuda::EmulatedBytesInUse() + weights + rest);
  const uint64_t captures = cuda::EmulatedCaptures();
  {
    DeviceRunner runner(config, model.weights, Limits(32), kBlocks);
    std::vector<StepRunner::Sequence> all;
    for (uint32_t i = 0; i < 12; ++i) all.push_back(runner.NewSequence(Tokens(20, i)));
    for (const size_t count : {1, 2, 3, 4, 6, 8, 12}) {
      std::vector<std::pair<StepRunner::Sequence*, int64_t>> portions;
      for (size_t i = 0; i < count; ++i) portions.push_back({&all[i], 1});
      runner.Step(portions);
    }
  }
  cuda::SetEmulatedMemory(uint64_t{1} << 30);
  CHECK(cuda::EmulatedCaptures() - captures == 7);
}

TEST_CASE("a decode step whose attention is cut into launches is enqueued") {
  const RandomModel model = MakeRandomModel(Geometry(), 9);
  const std::vector<uint32_t> ids = Tokens(20, 1), others = Tokens(20, 2);
  DeviceRunner runner(model.config, model.weights, 0);  // the least: one token of 512
  auto s = runner.NewSequence(ids), t = runner.NewSequence(others);
  const uint64_t captures = cuda::EmulatedCaptures();
  for (int step = 0; step < 20; ++step) runner.Step({{&s, 1}, {&t, 1}});
  CHECK(cuda::EmulatedCaptures() == captures);
  RequireSameBits(s.logits, RunWholeOnDevice(model, ids));
  RequireSameBits(t.logits, RunWholeOnDevice(model, others));
}

}  // namespace latentd
