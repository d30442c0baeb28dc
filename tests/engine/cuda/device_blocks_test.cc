// A benchmark's cache on the device: what is written there is what the host would hold, and a
// copied prompt is as good as a computed one.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "engine/bench/bench_cache.h"
#include "engine/bench/bench_runner.h"
#include "engine/cuda/device_blocks.h"
#include "engine/cuda/device_roofs.h"
#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/model/model_runner.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

// The logits of one decode step for every sequence.
std::vector<std::vector<float>> Decoded(Executor* executor, const BenchCache& cache,
                                        int64_t depth) {
  const std::vector<uint32_t> id = {3};
  StepPlan plan;
  for (int64_t i = 0; i < cache.num_sequences(); ++i) {
    plan.entries.push_back({.first_position = depth,
                            .token_ids = id,
                            .block_table = cache.table(i),
                            .first_logits_position = depth});
  }
  std::vector<std::vector<float>> logits;
  std::vector<EntryOutcome> outcomes;
  executor->Run(
      plan,
      [&](size_t, int64_t, std::span<float> row) { logits.emplace_back(row.begin(), row.end()); },
      &outcomes);
  return logits;
}

ModelConfig KeyNormed() {
  ModelConfig config = Geometry();
  config.key_norm = KeyNorm::kBlockwise;
  config.num_kv_groups = 3;
  return config;
}

struct DeviceCache {
  DeviceCache(const RandomModel& model, int64_t blocks)
      : weights(*DeviceWeights::Upload(model.config, model.weights, {})),
        pool(*BlockPool::Create(CacheShapeOf(model.config), blocks,
                                {.has_memory = false, .may_allocate = {}})),
        executor(*CudaExecutor::Create(
            model.config, *weights, pool->layout(),
            {.max_rows = 64, .max_sequences = 8, .max_context = 256, .partial_bytes = 1 << 20},
            pool->num_pages() * pool->shape().page_bytes())),
        memory(executor->pool()) {}

  std::unique_ptr<const DeviceWeights> weights;
  std::unique_ptr<BlockPool> pool;
  std::unique_ptr<CudaExecutor> executor;
  DeviceBlocks memory;
};

}  // namespace

TEST_CASE("random latents on the device are those that the host would write") {
  const RandomModel model = MakeRandomModel(KeyNormed(), 31);
  DeviceCache device(model, 6);
  const BlockLayout& layout = device.pool->layout();
  BenchCache cache(device.pool.get(), device.executor.get(), 16, &device.memory);
  REQUIRE(cache.Resize(3, 100, model.config.full_width()).ok());
  cache.Synthesize(100);
  std::vector<std::byte> expected(static_cast<size_t>(layout.block_bytes));
  for (int64_t i = 0; i < 3; ++i) {
    for (const uint32_t granule : cache.table(i)) {
      SynthesizeBlock(expected.data(), layout, model.config.kv_lora_rank, granule);
      // The emulated device's memory can be read as it is.
      const std::byte* there =
          device.executor->pool().base + static_cast<int64_t>(granule) * kGranuleBytes;
      CHECK(std::memcmp(there, expected.data(), expected.size()) == 0);
    }
  }
  for (const std::vector<float>& row : Decoded(device.executor.get(), cache, 100)) {
    for (const float logit : row) REQUIRE(std::isfinite(logit));
  }
}

TEST_CASE("a cache computed once on the device serves every sequence alike") {
  const RandomModel model = MakeRandomModel(KeyNormed(), 32);
  DeviceCache device(model, 6);
  BenchCache cache(device.pool.get(), device.executor.get(), 16, &device.memory);
  REQUIRE(cache.Resize(3, 101, model.config.full_width()).ok());
  cache.Compute(100);
  const auto logits = Decoded(device.executor.get(), cache, 100);
  REQUIRE(logits.size() == 3);
  CHECK(logits[1] == logits[0]);
  CHECK(logits[2] == logits[0]);
  for (const float logit : logits[0]) REQUIRE(std::isfinite(logit));
}

TEST_CASE("what the device can do is measured, or refused with the numbers") {
  const uint64_t before = cuda::EmulatedBytesInUse();
  {
    const auto roofs = DeviceRoofs::Create();
    REQUIRE(roofs.ok());
    for (int round = 0; round < 2; ++round) {
      const Roofs measured = (*roofs)->Measure();
      CHECK((measured.read_bytes_per_second > 0 && std::isfinite(measured.read_bytes_per_second)));
      CHECK((measured.flops_per_second > 0 && std::isfinite(measured.flops_per_second)));
    }
  }
  CHECK(cuda::EmulatedBytesInUse() == before);
  cuda::SetEmulatedMemory(before + 1000);
  const auto refused = DeviceRoofs::Create();
  cuda::SetEmulatedMemory(uint64_t{1} << 30);
  CHECK(absl::IsResourceExhausted(refused.status()));
  CHECK(std::string(refused.status().message()).find("1000 are free") != std::string::npos);
}

TEST_CASE("a benchmark's steps bring 32 bytes a token to the host") {
  const RandomModel model = MakeRandomModel(KeyNormed(), 34);
  DeviceCache device(model, 6);
  const Width width = model.config.full_width();
  BenchCache cache(device.pool.get(), device.executor.get(), 16, &device.memory);
  REQUIRE(cache.Resize(3, 100, width).ok());
  cache.Synthesize(70);
  const auto fetched = [&](const BenchWork& work) {
    const cuda::EmulatedFetches before = cuda::FetchedFromEmulated();
    RunWork(device.executor.get(), cache, 16, work);
    return cuda::FetchedFromEmulated().bytes - before.bytes;
  };
  CHECK(fetched({BenchWork::Kind::kDecode, 70, 3, 1, width}) == 3 * 32);
  CHECK(fetched({BenchWork::Kind::kPrefill, 70, 1, 30, width}) == 32);
}

}  // namespace latentd
