// Relaxed on the CUDA back end: products by a library whose sums have another order, emulated.
#include <catch2/catch.hpp>

#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/cuda/relaxed_bound.h"
#include "tests/engine/model/compare_logits.h"
#include "tests/engine/model/model_runner.h"
#include "tests/engine/model/naive_model.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

void CheckAgainstOracle(const ModelConfig& config, uint32_t seed, size_t num_tokens) {
  const RandomModel model = MakeRandomModel(config, seed, DType::kBF16);
  const std::vector<uint32_t> ids = Tokens(num_tokens, seed);
  const NaiveResult truth = NaiveForward(config, model.weights, ids, CacheFormat::kBf16);
  const Difference difference =
      Compare(truth, RunWholeOnDevice(model, ids, {}, /*relaxed=*/true), config.num_layers);
  INFO(difference.where);
  CHECK(difference.worst <= Allowed(truth.largest_score, config.num_layers));
}

uint64_t ProductsOf(const RandomModel& model, const std::vector<uint32_t>& ids, bool relaxed) {
  const uint64_t before = cuda::EmulatedLibraryProducts();
  RunWholeOnDevice(model, ids, {}, relaxed);
  return cuda::EmulatedLibraryProducts() - before;
}

}  // namespace

TEST_CASE("relaxed on the device stays within the bound of the plain model in double precision") {
  uint32_t seed = 70;
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (int64_t groups : {1, 2, 6}) {
      for (int64_t rope_dim : {0, 8}) {
        ModelConfig config = Geometry();
        config.key_norm = norm;
        config.num_kv_groups = groups;
        config.qk_rope_head_dim = rope_dim;
        config.q_lora_rank = seed % 3 == 0 ? 0 : 24;
        config.v_head_dim = groups == 2 ? 10 : 12;  // outputs of a head that begin at odd places
        if (rope_dim == 0) config.rope.inv_freq.clear();
        CAPTURE(static_cast<int>(norm), groups, rope_dim, seed);
        CheckAgainstOracle(config, seed++, 20);
      }
    }
  }
}

TEST_CASE("relaxed multiplies by the library what it may, strict nothing") {
  const ModelConfig config = Geometry();
  const std::vector<uint32_t> ids = Tokens(10, 1);
  const RandomModel model = MakeRandomModel(config, 2, DType::kBF16);
  // Two of the query, W_DKV, W_UK, W_UV, three of the MLP, in two layers, and the head. Rows of
  // W_O lie 60 elements apart, which the matrix units do not take.
  CHECK(ProductsOf(model, ids, /*relaxed=*/true) == 2 * 8 + 1);
  CHECK(ProductsOf(model, ids, /*relaxed=*/false) == 0);
  CHECK(ProductsOf(MakeRandomModel(config, 2), ids, /*relaxed=*/true) == 0);  // fp32 weights
}

TEST_CASE("heads that share a matrix are a product each, unless the library knows none") {
  ModelConfig config = Geometry();
  config.num_kv_groups = 2;
  config.v_head_dim = 12;
  const std::vector<uint32_t> ids = Tokens(10, 1);
  const RandomModel model = MakeRandomModel(config, 3, DType::kBF16);
  CHECK(ProductsOf(model, ids, /*relaxed=*/true) == 2 * (3 + 3 + 3 + 1 + 3) + 1);  // W_O too
}

// Of the three products of W_UV the second begins at an odd place.
TEST_CASE("x is rounded only where the library multiplies it, all of its products or none") {
  ModelConfig config = Geometry();
  config.num_kv_groups = 2;
  config.v_head_dim = 10;
  const RandomModel model = MakeRandomModel(config, 3, DType::kBF16);
  const uint64_t roundings = cuda::EmulatedRoundings();
  CHECK(ProductsOf(model, Tokens(10, 1), /*relaxed=*/true) == 2 * (3 + 3 + 3) + 1);
  CHECK(cuda::EmulatedRoundings() - roundings == 2 * (3 + 1 + 3) + 1);
}

TEST_CASE("a relaxed step takes no device memory") {
  const ModelConfig config = Geometry();
  const RandomModel model = MakeRandomModel(config, 4, DType::kBF16);
  DeviceRunner runner(config, model.weights, 1 << 20, /*relaxed=*/true);
  auto s = runner.NewSequence(Tokens(90, 5));
  const uint64_t allocations = cuda::EmulatedAllocations();
  runner.Step({{&s, 80}});
  runner.Step({{&s, 10}});
  CHECK(cuda::EmulatedAllocations() == allocations);
  REQUIRE(s.logits.size() == 90);
}

// One row is padded to none, so that the library sees the same shapes.
TEST_CASE("relaxed decode steps have the same bits as graphs and without") {
  const ModelConfig config = Geometry();
  const RandomModel model = MakeRandomModel(config, 7, DType::kBF16);
  const std::vector<uint32_t> ids = Tokens(100, 8);
  const auto run = [&](int64_t max_graphs) {
    StepLimits limits = DeviceRunner::Limits(1 << 20, /*relaxed=*/true);
    limits.max_graphs = max_graphs;
    DeviceRunner runner(config, model.weights, limits);
    auto s = runner.NewSequence(ids);
    runner.Step({{&s, 60}});
    while (s.computed < 100) runner.Step({{&s, 1}});
    return s.logits;
  };
  const uint64_t captures = cuda::EmulatedCaptures();
  const auto with = run(4);
  CHECK(cuda::EmulatedCaptures() == captures + 1);
  RequireSameBits(with, run(0));
}

TEST_CASE("relaxed without the library is refused with what to do, strict is not") {
  const ModelConfig config = Geometry();
  const RandomModel model = MakeRandomModel(config, 6);
  const auto weights = *DeviceWeights::Upload(config, model.weights, {});
  const BlockLayout layout = BlockLayout::Make(config.num_layers, config.kv_lora_rank,
                                               config.qk_rope_head_dim, config.num_alphas());
  const auto create = [&](bool relaxed) {
    return CudaExecutor::Create(config, *weights, layout,
                                {.max_rows = 16,
                                 .max_sequences = 2,
                                 .max_context = 128,
                                 .partial_bytes = 1 << 20,
                                 .relaxed = relaxed},
                                4 * layout.block_bytes)
        .status();
  };
  cuda::SetEmulatedLibrary(false);
  const absl::Status refused = create(true), taken = create(false);
  cuda::SetEmulatedLibrary(true);
  CHECK(absl::IsFailedPrecondition(refused));
  const std::string message(refused.message());
  CHECK(message.find("libcublasLt.so.13 into LD_LIBRARY_PATH") != std::string::npos);
  CHECK(message.find("it was taken away") != std::string::npos);
  CHECK(taken.ok());
}

}  // namespace latentd
