// Decode steps as graphs from the embedding to the tokens, over the emulated device: tokens are
// those that the host draws from the logits of steps without graphs.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <random>

#include "engine/sampling/sampler_batch.h"
#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/cuda/drawn_result.h"
#include "tests/engine/model/expert_models.h"
#include "tests/engine/model/sliced_model.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

constexpr size_t kVocab = 50;
constexpr size_t kListBytesWithin = 8 << 10;  // the most that draws bring to a graph

StepLimits Limits(int64_t max_sequences, int64_t max_graphs) {
  return {.max_rows = max_sequences + 30,
          .max_sequences = max_sequences,
          .max_context = 128,
          .partial_bytes = 1 << 22,
          .max_graphs = max_graphs};
}

// What is wanted of a row with these logits: a token, or nothing, which is the logits.
using Ask = std::function<std::optional<cuda::SamplerCase>(const std::vector<float>&)>;

size_t ListBytes(const cuda::SamplerCase& draw) {
  SamplerBatch batch;
  batch.Add(draw.choice, draw.num_top, draw.mask);
  return 8 * (batch.uses.size() + batch.biases.size()) +
         4 * (batch.masked.size() + batch.allowed.size());
}

// Sequences of one token after the other, on an executor with graphs that draws and on one without
// that gives logits.
class Drawing {
 public:
  Drawing(const RandomModel& model, int64_t max_sequences, int64_t num_blocks)
      : graphs_(model.config, model.weights, Limits(max_sequences, 32), num_blocks),
        plain_(model.config, model.weights, Limits(max_sequences, 0), num_blocks) {
    // Numbers of about one, so that contexts need no prefill.
    std::mt19937 rng(3);
    std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
    const DevicePool pool = graphs_.executor->pool(), other = plain_.executor->pool();
    const std::span latents(reinterpret_cast<bf16*>(pool.base),
                            static_cast<size_t>(pool.bytes) / sizeof(bf16));
    for (bf16& value : latents) value = ToBf16(rng() % 2 == 0 ? uniform(rng) : -uniform(rng));
    std::memcpy(other.base, pool.base, static_cast<size_t>(pool.bytes));
  }

  // A sequence that stands at `computed` and may grow to `length`; its number.
  size_t Add(int64_t computed, int64_t length, Width width = {}) {
    const std::vector<uint32_t> ids = Tokens(static_cast<size_t>(length), seed_++);
    sequences_.push_back(graphs_.NewSequence(ids, width));
    others_.push_back(plain_.NewSequence(ids, width));
    sequences_.back().computed = others_.back().computed = computed;
    return sequences_.size() - 1;
  }
  bool Ended(size_t i) const {
    return sequences_[i].computed == static_cast<int64_t>(sequences_[i].ids.size());
  }
  Width WidthOf(size_t i) const { return sequences_[i].width; }

  // One token of each, but of `cancelled`, which was before the step began.
  void Step(const std::vector<size_t>& numbers, const Ask& ask,
            std::optional<size_t> cancelled = {}) {
    const std::map<size_t, std::vector<float>> logits = Logits(numbers);
    std::map<size_t, cuda::SamplerCase> draws;
    size_t list_bytes = 0;
    for (const auto& [entry, row] : logits) {
      std::optional<cuda::SamplerCase> draw = ask(row);
      if (!draw) continue;
      draw->logits = row;
      list_bytes += ListBytes(*draw);
      draws.emplace(entry, *std::move(draw));
    }
    const std::atomic<bool> flag = true;
    StepPlan plan;
    bool one_width = true;
    for (const size_t i : numbers) {
      plan.entries.push_back(StepRunner::EntryOf(sequences_[i], 1));
      if (i == cancelled) plan.entries.back().cancelled = &flag;
      one_width &= WidthOf(i) == WidthOf(numbers[0]);
    }
    const uint64_t alone = cuda::EmulatedKernelsAlone();
    CheckTokens(plan, logits, draws);
    const bool within = one_width && !cancelled && draws.size() == numbers.size() &&
                        list_bytes <= kListBytesWithin && fits_;
    CHECK((cuda::EmulatedKernelsAlone() == alone) == within);
    ++(within ? num_within_ : num_outside_);
    for (const size_t i : numbers) {
      ++others_[i].computed;
      if (i != cancelled) ++sequences_[i].computed;
    }
    if (cancelled) others_[*cancelled].computed = sequences_[*cancelled].computed;
  }
  // From now on the device has no memory for another graph.
  void FillMemory() {
    cuda::SetEmulatedMemory(cuda::EmulatedBytesInUse());
    fits_ = false;
  }
  int num_within() const { return num_within_; }
  int num_outside() const { return num_outside_; }

 private:
  // By entry.
  std::map<size_t, std::vector<float>> Logits(const std::vector<size_t>& numbers) {
    StepPlan plan;
    for (const size_t i : numbers) plan.entries.push_back(StepRunner::EntryOf(others_[i], 1));
    std::map<size_t, std::vector<float>> logits;
    std::vector<EntryOutcome> outcomes;
    plain_.executor->Run(
        plan,
        [&](size_t entry, int64_t, std::span<float> row) {
          logits.try_emplace(entry, row.begin(), row.end());
        },
        &outcomes);
    return logits;
  }
  void CheckTokens(const StepPlan& plan, const std::map<size_t, std::vector<float>>& logits,
                   const std::map<size_t, cuda::SamplerCase>& draws) {
    std::vector<int> given(plan.entries.size());
    TokenSink tokens;
    tokens.wanted = [&](size_t entry, int64_t) -> std::optional<WantedToken> {
      const auto draw = draws.find(entry);
      if (draw == draws.end()) return std::nullopt;
      return WantedToken{&draw->second.choice, draw->second.num_top, draw->second.mask};
    };
    tokens.take = [&](size_t entry, int64_t, const absl::StatusOr<DrawnToken>& token) {
      CAPTURE(entry);
      ++given[entry];
      const cuda::SamplerResult expected = SampleOnCpu(draws.at(entry));
      RequireSame(ResultOf(token, expected), expected);
    };
    std::vector<EntryOutcome> outcomes;
    graphs_.executor->RunAndDraw(
        plan,
        [&](size_t entry, int64_t, std::span<float> row) {
          ++given[entry];
          REQUIRE(!draws.contains(entry));
          REQUIRE(std::memcmp(row.data(), logits.at(entry).data(), kVocab * sizeof(float)) == 0);
        },
        tokens, &outcomes);
    for (size_t entry = 0; entry < given.size(); ++entry) {
      const bool is_cancelled = plan.entries[entry].cancelled != nullptr;
      REQUIRE(given[entry] == (is_cancelled ? 0 : 1));
      REQUIRE((outcomes[entry] == EntryOutcome::kCancelled) == is_cancelled);
    }
  }

  DeviceRunner graphs_, plain_;
  std::vector<StepRunner::Sequence> sequences_, others_;
  uint32_t seed_ = 1;
  int num_within_ = 0, num_outside_ = 0;
  bool fits_ = true;
};

// Greedy, with a bias of each of so many tokens, and logprobs if wanted.
Ask Biased(size_t num_biases, std::optional<uint32_t> num_top = {}) {
  return [=](const std::vector<float>& logits) {
    SamplingParams params;
    params.temperature = 0;
    for (uint32_t token = 0; token < num_biases; ++token) {
      params.logit_bias[token] = 0.25F * static_cast<float>(token % 7);
    }
    cuda::SamplerCase draw = cuda::PlainCase(params, logits);
    draw.num_top = num_top;
    return draw;
  };
}

// Sequences come and go and change places, now and then one is cancelled, and some steps want the
// logits of some.
void RunRandomSteps(const RandomModel& model, const std::vector<Width>& widths, int num_steps,
                    uint32_t seed) {
  Drawing drawing(model, 12, 250);
  std::mt19937_64 random(seed);
  std::vector<size_t> active;
  int added = 0;
  for (int step = 0; step < num_steps; ++step) {
    CAPTURE(seed, step, active.size());
    while (active.empty() || (active.size() < 9 && added < 50 && random() % 3 > 0)) {
      const auto computed = static_cast<int64_t>(random() % 100);
      const size_t width = static_cast<size_t>(step) / 20 % widths.size();
      active.push_back(
          drawing.Add(computed, computed + 1 + static_cast<int64_t>(random() % 25), widths[width]));
      ++added;
    }
    std::shuffle(active.begin(), active.end(), random);
    const bool has_lists = random() % 3 > 0, has_logits = random() % 5 == 0;
    const Ask ask = [&](const std::vector<float>& logits) -> std::optional<cuda::SamplerCase> {
      if (has_logits && random() % 3 == 0) return std::nullopt;
      if (has_lists) return cuda::RandomCase(random, kVocab);
      return Biased(0)(logits);
    };
    std::optional<size_t> cancelled;
    if (active.size() > 1 && random() % 6 == 0) cancelled = active[random() % active.size()];
    drawing.Step(active, ask, cancelled);
    std::erase_if(active, [&](size_t i) { return drawing.Ended(i) || random() % 10 == 0; });
  }
  CHECK(drawing.num_within() > num_steps / 5);
  CHECK(drawing.num_outside() > num_steps / 10);
}

}  // namespace

TEST_CASE("graphs draw what the host would draw, whoever comes and goes") {
  RunRandomSteps(MakeRandomModel(Geometry(), 51, DType::kBF16), {{}}, 60, 1);
  RunRandomSteps(MakeRandomModel(ElasticGeometry(KeyNorm::kBlockwise), 52), {{}, {7, 37}}, 40, 2);
  for (const ModelConfig& config : ExpertGeometries()) {
    RunRandomSteps(MakeRandomModel(config, 53), {{}}, 15, 3);
  }
}

TEST_CASE("one graph draws of more rows than a tile of logits, padded ones among them") {
  const RandomModel model = MakeRandomModel(Geometry(), 54);
  Drawing drawing(model, 70, 140);
  std::vector<size_t> all;
  for (int i = 0; i < 70; ++i) all.push_back(drawing.Add(61, 66));  // into a second block
  const uint64_t captures = cuda::EmulatedCaptures();
  for (const uint32_t num_top : {3, 5, 1}) drawing.Step(all, Biased(3, num_top));
  all.pop_back();
  for (const size_t num_biases : {12, 0}) drawing.Step(all, Biased(num_biases, 1));
  CHECK(drawing.num_within() == 5);
  CHECK(cuda::EmulatedCaptures() - captures == 1);
}

TEST_CASE("a graph for each of few numbers of logprobs, and one without") {
  const RandomModel model = MakeRandomModel(Geometry(), 55);
  Drawing drawing(model, 4, 8);
  const std::vector<size_t> all = {drawing.Add(0, 30), drawing.Add(9, 30), drawing.Add(50, 90)};
  const uint64_t captures = cuda::EmulatedCaptures();
  for (const int num_top : {-1, 20, 0, 3, 6, 5, 1, -1, 0, 20, 4}) {
    const auto wanted =
        num_top < 0 ? std::nullopt : std::optional<uint32_t>(static_cast<uint32_t>(num_top));
    drawing.Step(all, Biased(0, wanted));
  }
  CHECK(drawing.num_within() == 11);
  CHECK(cuda::EmulatedCaptures() - captures == 4);  // -1, 0, up to 5, up to 20
}

TEST_CASE("draws with long lists stay outside the graph") {
  const RandomModel model = MakeRandomModel(Geometry(), 56);
  Drawing drawing(model, 24, 30);
  std::vector<size_t> all;
  for (int i = 0; i < 21; ++i) all.push_back(drawing.Add(0, 4));
  drawing.Step(all, Biased(50));  // 8400 bytes
  CHECK(drawing.num_outside() == 1);
  all.pop_back();
  drawing.Step(all, Biased(50));  // 8000
  CHECK(drawing.num_within() == 1);
  drawing.Step(all, Biased(0));
  CHECK(drawing.num_within() == 2);
}

TEST_CASE("draws are the same where the device has no memory for graphs") {
  const RandomModel model = MakeRandomModel(Geometry(), 57);
  Drawing drawing(model, 4, 8);
  const std::vector<size_t> all = {drawing.Add(0, 30), drawing.Add(9, 30), drawing.Add(50, 90)};
  drawing.FillMemory();
  for (const uint32_t num_top : {0, 3, 20}) drawing.Step(all, Biased(10, num_top));
  cuda::SetEmulatedMemory(uint64_t{1} << 30);
  CHECK(drawing.num_outside() == 3);
}

}  // namespace latentd
