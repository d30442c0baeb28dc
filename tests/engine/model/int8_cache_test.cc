// The int8 cache below the engine: against the plain model on quantised latents, α of what is
// stored, and strict's promise of equal bits.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "tests/engine/model/compare_logits.h"
#include "tests/engine/model/model_runner.h"
#include "tests/engine/model/naive_model.h"

namespace latentd {
namespace {

constexpr CacheFormat kInt8 = CacheFormat::kInt8;

std::vector<CpuPath> Paths() {
  std::vector<CpuPath> paths;
  for (const CpuPath path : {CpuPath::kScalar, CpuPath::kAvx2, CpuPath::kAvx512,
                             CpuPath::kAvx512Bf16, CpuPath::kNeon, CpuPath::kSve}) {
    if (Supported(path)) paths.push_back(path);
  }
  return paths;
}

ModelConfig NormedGeometry(KeyNorm norm, int64_t groups, int64_t rope_dim) {
  ModelConfig config = Geometry();
  config.key_norm = norm;
  config.num_kv_groups = groups;
  config.qk_rope_head_dim = rope_dim;
  if (rope_dim == 0) config.rope.inv_freq.clear();
  return config;
}

// One layer: in a second one the bf16 roundings of the first would carry latents over the half
// between two whole numbers, and a step is more than those roundings. fp32 sums alone do so once in
// some thousand numbers, by a lane of a token.
TEST_CASE("a layer with an int8 cache equals the plain model on quantised latents") {
  uint32_t seed = 200;
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (int64_t groups : {1, 6}) {
      for (int64_t rope_dim : {0, 8}) {
        ModelConfig config = NormedGeometry(norm, groups, rope_dim);
        config.num_layers = 1;
        CAPTURE(static_cast<int>(norm), groups, rope_dim);
        const RandomModel model = MakeRandomModel(config, seed++);
        const std::vector<uint32_t> ids = Tokens(200, seed);
        const NaiveResult truth = NaiveForward(config, model.weights, ids, kInt8);
        const double of_bf16 = Compare(truth, RunWhole(model, ids), 1).worst;
        for (const CpuPath path : Paths()) {
          for (const auto determinism : {Determinism::kStrict, Determinism::kRelaxed}) {
            const auto logits = RunWhole(model, ids, {}, path, determinism, kInt8);
            const Difference difference = Compare(truth, logits, 1, determinism);
            INFO(Name(path) << ": " << difference.where);
            CHECK(difference.worst <= 1);
            // The formats differ by less than the bound, but by more than what is rounded after.
            if (determinism == Determinism::kStrict) CHECK(difference.worst < of_bf16 / 2);
          }
        }
      }
    }
  }
}

// α = (mean(k²) + ε)^(−1/2), k = W_UK c of the stored c. A key of fp32 products errs by at most
// (r + 2) roundings of its terms' magnitudes, α by the relative error of the norm of all keys, and
// by d_n / 2 + 6 roundings of its own. bf16 weights round activations, but whole numbers are exact.
TEST_CASE("the key scalars are those of the dequantised latents") {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ModelConfig config = NormedGeometry(KeyNorm::kBlockwise, 3, 8);
    config.num_layers = 1;
    const RandomModel model = MakeRandomModel(config, 9, dtype);
    const WeightView& kv_b = model.weights.layers[0].kv_b_proj;
    Runner runner(model, 1, BestCpuPath(), Determinism::kStrict, kInt8);
    auto s = runner.NewSequence(Tokens(64, 3));
    runner.Step({{&s, 64}});
    const int64_t rank = config.kv_lora_rank, d_n = config.qk_nope_head_dim;
    std::byte* const block = runner.blocks->Block(s.table[0]);
    const auto* scales =
        reinterpret_cast<const float*>(block + runner.blocks->layout().layer(0).scales);
    const auto weight = [&](int64_t row, int64_t col) {
      const int64_t i = row * kv_b.ld + col;
      return dtype == DType::kF32 ? static_cast<const float*>(kv_b.data)[i]
                                  : ToFloat(static_cast<const bf16*>(kv_b.data)[i]);
    };
    for (int64_t t = 0; t < 64; ++t) {
      const auto* numbers = reinterpret_cast<const int8_t*>(runner.blocks->Row(s.table[0], 0, t));
      REQUIRE(*std::max_element(numbers, numbers + rank) <= 127);
      REQUIRE(std::any_of(numbers, numbers + rank, [](int8_t n) { return std::abs(n) == 127; }));
      for (int64_t g = 0; g < 3; ++g) {
        double squares = 0, errors = 0;
        for (int64_t i = 0; i < d_n; ++i) {
          double key = 0, magnitude = 0;
          for (int64_t j = 0; j < rank; ++j) {
            const double term =
                double{weight(g * (d_n + config.v_head_dim) + i, j)} * numbers[j] * scales[t];
            key += term;
            magnitude += std::abs(term);
          }
          squares += key * key;
          errors += std::pow(static_cast<double>(rank + 2) * 0x1p-24 * magnitude, 2);
        }
        const double eps = static_cast<double>(config.qk_norm_eps);
        const double expected = 1 / std::sqrt(squares / static_cast<double>(d_n) + eps);
        const double bound =
            std::sqrt(errors / squares) + static_cast<double>(d_n / 2 + 6) * 0x1p-24;
        const double alpha = runner.blocks->Alphas(s.table[0], 0, t)[g];
        INFO("token " << t << " group " << g << ": " << alpha << " against " << expected);
        REQUIRE(std::abs(alpha / expected - 1) <= bound);
      }
    }
  }
}

TEST_CASE("an int8 cache gives the same bits in any portions, company and number of threads") {
  for (const KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    ModelConfig config = NormedGeometry(norm, 3, 8);
    config.kv_lora_rank = 100;  // rows of 128, or of 64 where a sequence runs narrower
    config.elastic = ElasticConfig{{24}, {100}, true, true};
    const RandomModel model = MakeRandomModel(config, 8, DType::kBF16);
    const std::vector<uint32_t> a = Tokens(90, 1), b = Tokens(33, 2);
    const Width narrow = {7, 37};
    for (const CpuPath path : Paths()) {
      const auto run = [&](const std::vector<uint32_t>& ids, const Width& width) {
        return RunWhole(model, ids, width, path, Determinism::kStrict, kInt8);
      };
      const auto alone_a = run(a, {}), alone_b = run(b, {}), narrow_a = run(a, narrow);
      CHECK(alone_a != RunWhole(model, a, {}, path));
      for (const int threads : {1, 2}) {
        INFO(Name(path) << ", " << threads << " threads");
        Runner runner(model, threads, path, Determinism::kStrict, kInt8);
        auto s = runner.NewSequence(a), t = runner.NewSequence(b),
             u = runner.NewSequence(a, narrow);
        runner.Step({{&s, 1}, {&t, 5}});
        runner.Step({{&u, 65}, {&s, 63}});
        runner.Step({{&t, 27}, {&s, 7}, {&u, 1}});
        runner.Step({{&s, 1}, {&t, 1}, {&u, 24}});
        runner.Step({{&s, 18}});
        CHECK(s.logits == alone_a);
        CHECK(t.logits == alone_b);
        CHECK(u.logits == narrow_a);
      }
    }
  }
}

}  // namespace
}  // namespace latentd
