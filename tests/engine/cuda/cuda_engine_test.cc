// An engine over the CUDA executor, its kernels emulated: tokens drawn on the device are those that
// the host draws, and generation brings no logits to the host.
#include <catch2/catch.hpp>
#include <limits>
#include <random>

#include "engine/cuda/cuda_executor.h"
#include "tests/engine/engine_fixture.h"
#include "tests/engine/model/model_runner.h"
#include "tests/fakes/manual_clock.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

constexpr uint32_t kBadToken = 49;  // beyond what Prompt and Varied use

// Hides that an executor draws tokens.
class LogitsOnly : public Executor {
 public:
  explicit LogitsOnly(Executor* inner) : inner_(inner) {}
  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override {
    inner_->Run(plan, sink, outcomes);
  }
  int64_t vocab_size() const override { return inner_->vocab_size(); }

 private:
  Executor* const inner_;
};

enum class Sampling { kOnHost, kOnDevice };

struct DeviceEngine {
  static constexpr int64_t kBlocks = 10;

  DeviceEngine(const RandomModel& model, Sampling sampling) {
    const ModelConfig& config = model.config;
    weights = *DeviceWeights::Upload(config, model.weights, {});
    const BlockLayout layout = BlockLayout::Make(config.num_layers, config.kv_lora_rank,
                                                 config.qk_rope_head_dim, config.num_alphas());
    pool = *BlockPool::Create(layout, kBlocks, {.has_memory = false, .may_allocate = {}});
    EngineOptions options;
    options.backend = "cuda emulated";
    options.scheduler.max_num_seqs = 8;
    options.scheduler.max_num_batched_tokens = 80;
    options.scheduler.max_context = 256;
    executor = *CudaExecutor::Create(
        config, *weights, layout,
        {.max_rows = 80, .max_sequences = 8, .max_context = 256, .partial_bytes = 1 << 20},
        kBlocks * layout.block_bytes);
    logits_only = std::make_unique<LogitsOnly>(executor.get());
    Executor* const used =
        sampling == Sampling::kOnHost ? static_cast<Executor*>(logits_only.get()) : executor.get();
    loop = std::make_unique<EngineLoop>(options, used, pool.get(), &clock);
  }

  // Of requests that are there together.
  std::vector<Reader> Answers(const std::vector<EngineRequest>& requests) {
    std::vector<Reader> readers;
    for (const EngineRequest& request : requests) {
      readers.emplace_back(loop->Submit(request).value());
    }
    while (loop->RunOnce(clock.Now())) {
      clock.Advance(std::chrono::milliseconds(1));
      for (Reader& reader : readers) reader.Read();
    }
    for (Reader& reader : readers) REQUIRE(reader.end);
    return readers;
  }

  ManualClock clock;
  std::unique_ptr<const DeviceWeights> weights;
  std::unique_ptr<BlockPool> pool;
  std::unique_ptr<CudaExecutor> executor;
  std::unique_ptr<LogitsOnly> logits_only;
  std::unique_ptr<EngineLoop> loop;
};

// Parameters of every kind, over few tokens.
EngineRequest Asked(uint64_t seed) {
  std::mt19937_64 random(seed + 1000);
  EngineRequest request = Varied(seed);
  request.prompt = Prompt(seed, 1 + random() % 70);
  request.max_tokens = static_cast<uint32_t>(1 + random() % 12);
  request.sampling.min_p = random() % 2 == 0 ? 0.05F : 0.0F;
  request.sampling.presence_penalty = random() % 2 == 0 ? -0.5F : 0.0F;
  if (random() % 2 == 0) request.sampling.logit_bias = {{40, 1.5F}, {3, -100.0F}};
  if (random() % 2 == 0) request.top_logprobs = static_cast<uint32_t>(random() % 21);
  if (random() % 4 == 0) request.prompt_top_logprobs = 2;
  return request;
}

std::vector<EngineRequest> ManyRequests() {
  std::vector<EngineRequest> requests;
  for (uint64_t seed = 0; seed < 20; ++seed) requests.push_back(Asked(seed));
  return requests;
}

// Only tokens: what needs logits is not asked for.
std::vector<EngineRequest> PlainRequests() {
  std::vector<EngineRequest> requests = ManyRequests();
  for (EngineRequest& request : requests) {
    request.logits_hash = false;
    request.top_logprobs.reset();
    request.prompt_top_logprobs.reset();
  }
  return requests;
}

void RequireSameAnswer(Reader& actual, Reader& expected) {
  CHECK(actual.end->status == expected.end->status);
  REQUIRE(actual.prompt.size() == expected.prompt.size());
  for (size_t i = 0; i < actual.prompt.size(); ++i) {
    const auto &got = actual.prompt[i].logprobs, &wanted = expected.prompt[i].logprobs;
    REQUIRE(got.has_value() == wanted.has_value());
    if (got) CHECK(SameLogprobs(*got, *wanted));
  }
  REQUIRE(actual.choices == expected.choices);
}

}  // namespace

TEST_CASE("an engine that draws on the device answers as one that draws on the host") {
  const RandomModel model = MakeRandomModel(Geometry(), 41);
  const std::vector<EngineRequest> requests = ManyRequests();
  DeviceEngine on_host(model, Sampling::kOnHost), on_device(model, Sampling::kOnDevice);
  std::vector<Reader> expected = on_host.Answers(requests), actual = on_device.Answers(requests);
  size_t num_tokens = 0, num_logprobs = 0, num_stops = 0;
  for (size_t r = 0; r < requests.size(); ++r) {
    INFO("request " << r);
    RequireSameAnswer(actual[r], expected[r]);
    for (const ChoiceResult& choice : actual[r].choices) {
      num_tokens += choice.tokens.size();
      num_logprobs += choice.logprobs.size();
      num_stops += choice.matched_token ? 1 : 0;
    }
    CHECK(actual[r].end->status == absl::OkStatus());
  }
  CHECK(num_tokens > 100);
  CHECK(num_logprobs > 30);
  CHECK(num_stops > 0);
}

TEST_CASE("a request that draws on the device gets alone what it gets among others") {
  const RandomModel model = MakeRandomModel(Geometry(), 41);
  const std::vector<EngineRequest> requests = ManyRequests();
  std::vector<Reader> together = DeviceEngine(model, Sampling::kOnDevice).Answers(requests);
  for (size_t r = 0; r < requests.size(); r += 3) {
    INFO("request " << r);
    std::vector<Reader> alone = DeviceEngine(model, Sampling::kOnDevice).Answers({requests[r]});
    RequireSameAnswer(together[r], alone[0]);
  }
}

TEST_CASE("a fault of a row on the device ends its request, as on the host, and no other") {
  RandomModel model = MakeRandomModel(Geometry(), 41);
  float* const embedding = model.storage[0]->data();
  REQUIRE(static_cast<const void*>(embedding) == model.weights.embedding.data);
  embedding[kBadToken * model.config.hidden_size] = std::numeric_limits<float>::quiet_NaN();
  std::vector<EngineRequest> requests = PlainRequests();
  for (EngineRequest& request : requests) request.sampling.logit_bias = {{kBadToken, -100.0F}};
  requests[4].prompt.back() = kBadToken;
  requests[9].min_tokens = 3;  // and every token ends
  for (uint32_t token = 0; token < 50; ++token) requests[9].stop_token_ids.push_back(token);
  std::vector<Reader> expected = DeviceEngine(model, Sampling::kOnHost).Answers(requests);
  std::vector<Reader> actual = DeviceEngine(model, Sampling::kOnDevice).Answers(requests);
  for (size_t r = 0; r < requests.size(); ++r) {
    INFO("request " << r);
    RequireSameAnswer(actual[r], expected[r]);
    CHECK(actual[r].end->status.code() == (r == 4   ? absl::StatusCode::kInternal
                                           : r == 9 ? absl::StatusCode::kInvalidArgument
                                                    : absl::StatusCode::kOk));
  }
}

TEST_CASE("generation on the device brings 32 bytes a token to the host, and no logits") {
  const RandomModel model = MakeRandomModel(Geometry(), 42);
  DeviceEngine engine(model, Sampling::kOnDevice);
  const cuda::EmulatedFetches before = cuda::FetchedFromEmulated();
  size_t num_tokens = 0;
  for (const Reader& reader : engine.Answers(PlainRequests())) {
    REQUIRE(reader.end->status == absl::OkStatus());
    for (const ChoiceResult& choice : reader.choices) num_tokens += choice.tokens.size();
  }
  const cuda::EmulatedFetches after = cuda::FetchedFromEmulated();
  CHECK(num_tokens > 100);
  CHECK(after.bytes - before.bytes == num_tokens * 32);
  CHECK(after.copies - before.copies <= engine.loop->Stats().steps);
}

}  // namespace latentd
