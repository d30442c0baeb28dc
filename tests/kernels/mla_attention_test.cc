// Absorbed attention against expanded attention in double.
#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>

#include "tests/kernels/mla_expanded_row.h"

namespace latentd {
namespace {

std::vector<Model> Models() {
  std::vector<Model> models;
  for (const KeyNorm key_norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    models.push_back({4, 4, 64, 16, key_norm});
    models.push_back({12, 4, 128, 32, key_norm});
    models.push_back({3, 1, 64, 0, key_norm});
    models.push_back({5, 5, 100, 6, key_norm});  // a width and a rotary part that fill no vector
    models.push_back({1, 1, 1, 2, key_norm});
    models.push_back({2, 1, 192, 50, key_norm});
    models.push_back({16, 16, 576, 64, key_norm});
  }
  const size_t num_bf16 = models.size();
  for (size_t i = 0; i < num_bf16; ++i) {
    models.push_back(models[i]);
    models.back().format = CacheFormat::kInt8;
  }
  return models;
}

TEST_CASE("absorbed attention equals expanded attention on every path") {
  std::mt19937 rng(1);
  for (const Model& model : Models()) {
    const int64_t length = 131;
    const Sequence sequence(rng, model, length);
    Pool pool(model, 5);
    const std::vector<uint32_t> table = pool.Write(sequence, rng, 5);
    const std::vector<float> q = sequence.AbsorbedQueries();
    // Of a large model only the last tokens, to keep the oracles short.
    const int64_t first = model.num_heads * model.RowWidth() > 2000 ? length - 3 : 0;
    const int64_t rows = length * model.num_heads;
    std::vector<double> expected, bound;
    const int64_t row_step = std::max<int64_t>(1, rows / 40) | 1;  // odd: meets every head
    for (int64_t row = first * model.num_heads; row < rows; row += row_step) {
      const ExpandedRow expanded(sequence, row);
      expected.insert(expected.end(), expanded.z.begin(), expanded.z.end());
      bound.insert(bound.end(), expanded.bound.begin(), expanded.bound.end());
    }
    for (const CpuPath path : RunnablePaths()) {
      const std::vector<float> out =
          Attend({path, nullptr}, sequence, pool, table, q, first, length);
      std::vector<float> compared;
      for (int64_t row = first * model.num_heads; row < rows; row += row_step) {
        const auto begin = out.begin() + (row - first * model.num_heads) * model.RowLatent();
        compared.insert(compared.end(), begin, begin + model.RowLatent());
      }
      RequireWithin(compared, expected, bound, Describe(path, model));
    }
  }
}

// A later token of the same chunk may hold anything at all: infinities, say, after an overflow,
// which int8 stores as zeros with a scale of NaN.
TEST_CASE("a token never touches the rows before it") {
  std::mt19937 rng(5);
  const CacheFormat format = GENERATE(CacheFormat::kBf16, CacheFormat::kInt8);
  const Model model = {4, 4, 64, 16, KeyNorm::kBlockwise, format};
  for (const int64_t length : {2, 7, 64, 65, 66, 100}) {
    Sequence sequence(rng, model, length);
    const std::vector<float> q = sequence.AbsorbedQueries();
    Pool clean(model, 3);
    const std::vector<uint32_t> table = clean.Write(sequence, rng, 3);
    Pool dirty = clean;
    std::fill_n(&sequence.c[(length - 1) * model.width], model.width,
                std::numeric_limits<double>::infinity());
    if (model.IsInt8()) sequence.scales[length - 1] = std::numeric_limits<float>::quiet_NaN();
    dirty.WriteToken(sequence, length - 1, table);
    const int64_t before = (length - 1) * model.num_heads * model.RowLatent();
    for (const CpuPath path : RunnablePaths()) {
      const std::vector<float> expected =
          Attend({path, nullptr}, sequence, clean, table, q, 0, length);
      const std::vector<float> actual =
          Attend({path, nullptr}, sequence, dirty, table, q, 0, length);
      RequireSameBits(std::span(actual).first(before), std::span(expected).first(before),
                      Describe(path, model) + " length " + std::to_string(length));
    }
  }
}

}  // namespace
}  // namespace latentd
