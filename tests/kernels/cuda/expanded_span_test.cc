// A span of the paged latent as keys and values, emulated or on a device, against plain statements.
#include "kernels/cuda/expanded_parts.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

constexpr bf16 kUntouched{0xffff};

size_t At(int64_t i) { return static_cast<size_t>(i); }

std::vector<bf16> RandomRows(std::mt19937& rng, int64_t count) {
  std::vector<bf16> rows;
  for (const float value : RandomFloats(rng, count)) rows.push_back(ToBf16(value));
  return rows;
}

// The latents, rotary keys and α of a sequence of 150 tokens, in blocks in no order; NaN elsewhere.
struct Paged {
  static constexpr int64_t kTokens = 150, kRow = 72, kGroups = 3;

  explicit Paged(std::mt19937& rng)
      : rows(RandomRows(rng, kTokens * kRow)), alphas(RandomFloats(rng, kTokens * kGroups)) {
    layer.row_bytes = kRow * 2;
    layer.rows = 256;
    layer.alphas = layer.rows + kBlockTokens * layer.row_bytes;
    const int64_t block = (layer.alphas + kBlockTokens * kGroups * 4) / kGranuleBytes + 1;
    table = {static_cast<uint32_t>(2 * block), 0, static_cast<uint32_t>(block)};
    pool.assign(At(3 * block * kGranuleBytes), 0xff);
    for (int64_t t = 0; t < kTokens; ++t) {
      uint8_t* to = pool.data() + int64_t{table[At(t / kBlockTokens)]} * kGranuleBytes;
      const int64_t slot = t % kBlockTokens;
      std::memcpy(to + layer.rows + slot * layer.row_bytes, &rows[At(t * kRow)], kRow * 2);
      std::memcpy(to + layer.alphas + slot * kGroups * 4, &alphas[At(t * kGroups)], kGroups * 4);
    }
  }

  std::vector<bf16> rows;     // [kTokens, kRow]
  std::vector<float> alphas;  // [kTokens, kGroups]
  std::vector<uint8_t> pool;
  std::vector<uint32_t> table;
  LayerOffsets layer;
};

struct PagedOnDevice {
  explicit PagedOnDevice(const Paged& paged)
      : layer(paged.layer), pool(paged.pool), table(paged.table) {}
  PagedSpan Span(int64_t first, int64_t count) const {
    return {reinterpret_cast<const std::byte*>(pool.data()), layer, table.data(), first, count};
  }
  LayerOffsets layer;
  Array<uint8_t> pool;
  Array<uint32_t> table;
};

TEST_CASE("GatherSpan copies what is stored, over blocks, and zeros behind it", "[small]") {
  std::mt19937 rng(1);
  const Paged paged(rng);
  const PagedOnDevice device(paged);
  const int64_t padded = 128, ld = 80, first = 60, count = 90, cols = 70;
  const Array out(std::vector<bf16>(At(padded * ld), kUntouched));
  GatherSpan(nullptr, {.span = device.Span(first, count), .out = {out.data(), padded, cols, ld}});
  const std::vector<bf16> got = out.Read();
  for (int64_t t = 0; t < padded; ++t) {
    for (int64_t j = 0; j < ld; ++j) {
      bf16 expected = kUntouched;
      if (j < cols) expected = t < count ? paged.rows[At((first + t) * Paged::kRow + j)] : bf16{0};
      INFO("token " << t << " lane " << j);
      REQUIRE(got[At(t * ld + j)].bits == expected.bits);
    }
  }
}

TEST_CASE("PackSpan makes keys and values of two groups, rounded once", "[small]") {
  std::mt19937 rng(2);
  const Paged paged(rng);
  const PagedOnDevice device(paged);
  const int64_t d_n = 12, d_v = 10, first = 30, count = 100, padded = 128, groups = 2;
  const int64_t columns = groups * (d_n + d_v), x_ld = columns + 2, rope_ld = Paged::kRow;
  const std::vector<float> projected = RandomFloats(rng, padded * x_ld);
  const Array device_projected(projected);
  const Array device_rope(RandomRows(rng, padded * rope_ld));
  const std::vector<bf16> rope = device_rope.Read();
  for (const KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (const int64_t d_r : {0, 6}) {
      const int64_t key_ld = 24, out_ld = 40, stride = (padded + 1) * out_ld;
      const Array out(std::vector<bf16>(At(groups * stride), kUntouched));
      PackSpan(nullptr, {.projected = device_projected.View(padded, columns, x_ld),
                         .rope = device_rope.data(),
                         .rope_ld = rope_ld,
                         .span = device.Span(first, count),
                         .key_norm = norm,
                         .alphas_per_token = Paged::kGroups,
                         .first_group = 1,
                         .num_groups = groups,
                         .nope_dim = d_n,
                         .rope_dim = d_r,
                         .value_dim = d_v,
                         .out = out.data(),
                         .key_ld = key_ld,
                         .out_ld = out_ld,
                         .group_stride = stride});
      const std::vector<bf16> got = out.Read();
      for (int64_t i = 0; i < groups * stride; ++i) {
        const int64_t g = i / stride, t = i % stride / out_ld, j = i % out_ld;
        INFO("norm " << static_cast<int>(norm) << " d_r " << d_r << " group " << g << " token " << t
                     << " lane " << j);
        if (t == padded) {
          REQUIRE(got[At(i)] == kUntouched);
          continue;
        }
        float expected = 0;
        if (t < count) {
          const float* from = &projected[At(t * x_ld + g * (d_n + d_v))];
          const float alpha = paged.alphas[At((first + t) * Paged::kGroups + 1 + g)];
          const float kr = j >= d_n && j < d_n + d_r ? ToFloat(rope[At(t * rope_ld + j - d_n)]) : 0;
          if (j < d_n) expected = norm == KeyNorm::kNone ? from[j] : alpha * from[j];
          if (j >= d_n) expected = norm == KeyNorm::kUnified ? alpha * kr : kr;
          if (j >= key_ld && j < key_ld + d_v) expected = from[d_n + j - key_ld];
        }
        REQUIRE(ToFloat(got[At(i)]) == RoundToBf16(expected));
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
