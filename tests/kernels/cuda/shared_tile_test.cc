// Swizzle, descriptors, fragments and boxes against the manual's definitions (hopper_model.h).
#include "kernels/cuda/shared_tile.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <numeric>
#include <set>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/cuda/decode_layout.h"
#include "tests/kernels/cuda/hopper_model.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

// The figure of the 128-byte swizzle: row i holds its 16-byte pieces in this order.
TEST_CASE("the swizzle is the one of the manual's figure") {
  const int pieces[8][8] = {{0, 1, 2, 3, 4, 5, 6, 7}, {1, 0, 3, 2, 5, 4, 7, 6},
                            {2, 3, 0, 1, 6, 7, 4, 5}, {3, 2, 1, 0, 7, 6, 5, 4},
                            {4, 5, 6, 7, 0, 1, 2, 3}, {5, 4, 7, 6, 1, 0, 3, 2},
                            {6, 7, 4, 5, 2, 3, 0, 1}, {7, 6, 5, 4, 3, 2, 1, 0}};
  std::set<uint32_t> bytes;
  for (int row = 0; row < kTileRows; ++row) {
    for (int lane = 0; lane < kChunkLanes; ++lane) {
      const auto expected = static_cast<uint32_t>(128 * row + 16 * pieces[row % 8][lane / 8]) +
                            static_cast<uint32_t>(lane % 8 * 2);
      REQUIRE(ChunkByte(row, lane) == expected);
      bytes.insert(expected);
    }
  }
  CHECK(bytes.size() == size_t{kTileRows} * kChunkLanes);
}

// A quarter of a warp reads one 16-byte column of 8 rows at a time: all 32 banks, each once.
TEST_CASE("eight rows of a column lie in different banks") {
  for (int lane = 0; lane < kChunkLanes; lane += 8) {
    std::set<uint32_t> banks;
    for (int row = 8; row < 16; ++row) banks.insert(ChunkByte(row, lane) / 16 % 8);
    REQUIRE(banks.size() == 8);
  }
}

TEST_CASE("descriptor fields stand where the manual puts them") {
  const uint64_t lanes = DescriptorAlongLanes(0x2c400);
  CHECK((lanes & 0x3fff) == 0x2c400 / 16);
  CHECK((lanes >> 32 & 0x3fff) == 1024 / 16);
  CHECK(lanes >> 62 == 1);
  CHECK((lanes & 0x3fffc000c000c000) == 0);  // bits 14, 15, 30, 31, 46 to 61
  const uint64_t rows = DescriptorAlongRows(0x400);
  CHECK((rows & 0x3fff) == 0x400 / 16);
  CHECK((rows >> 16 & 0x3fff) == 8192 / 16);
  CHECK((rows >> 32 & 0x3fff) == 1024 / 16);
  CHECK(rows >> 62 == 1);
}

// Every operand that the kernel describes, at every chunk start that its layouts have: the element
// that wgmma takes is the one that was put there.
TEST_CASE("descriptors find every element of a tile") {
  for (int latent_chunks = 1; latent_chunks <= 8; ++latent_chunks) {
    const DecodeLayout layout(latent_chunks);
    for (int stage = 0; stage < layout.num_stages; ++stage) {
      const auto tile = static_cast<uint32_t>(layout.Stage(stage, 0));
      const auto at = [&](int token, int lane) {
        return tile + static_cast<uint32_t>(lane / kChunkLanes * kChunkBytes) +
               ChunkByte(token, lane % kChunkLanes);
      };
      for (int chunk = 0; chunk <= latent_chunks; ++chunk) {
        for (int step = 0; step < kStepsPerChunk; ++step) {
          const uint64_t along_lanes = Advance(DescriptorAlongLanes(tile),
                                               chunk * kChunkBytes + step * kStepBytesAlongLanes);
          const uint64_t along_rows =
              Advance(DescriptorAlongRows(tile + static_cast<uint32_t>(chunk * kChunkBytes)),
                      step * kStepBytesAlongRows);
          for (int i = 0; i < kTileRows; ++i) {
            for (int k = 0; k < kStepLanes; ++k) {
              REQUIRE(OperandByte(along_lanes, Major::kDepth, i, k) ==
                      at(i, chunk * kChunkLanes + step * kStepLanes + k));
            }
          }
          for (int i = 0; i < (latent_chunks - chunk) * kChunkLanes; ++i) {
            for (int k = 0; k < kStepLanes; ++k) {
              REQUIRE(OperandByte(along_rows, Major::kOther, i, k) ==
                      at(step * kStepLanes + k, chunk * kChunkLanes + i));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a fragment holds every element once, where wgmma leaves it") {
  // Row 0 of A is 1 at depth 0, row 1 at depth 1, …; B's depth d holds 16·d + column/16, so that
  // each sum names its own row (of 16) and column (of 256).
  std::vector<std::byte> shared(5 * kChunkBytes);
  const auto put = [&](uint32_t byte, float value) {
    const bf16 rounded = ToBf16(value);
    std::copy_n(reinterpret_cast<const std::byte*>(&rounded), 2, &shared[byte]);
  };
  for (int row = 0; row < 64; ++row)
    put(ChunkByte(row, row % 16), static_cast<float>(1 + row / 16));
  for (int depth = 0; depth < 16; ++depth) {
    for (int n = 0; n < 256; ++n) {
      put(static_cast<uint32_t>((1 + n / 64) * kChunkBytes) + ChunkByte(depth, n % 64),
          static_cast<float>(16 * depth + n / 16));
    }
  }
  for (const int columns : {8, 16, 32, 64, 128, 192, 256}) {
    std::vector<float> sums(static_cast<size_t>(64 * columns));
    ModelWgmma(shared, DescriptorAlongLanes(0), DescriptorAlongRows(kChunkBytes), Major::kOther,
               columns, sums);
    std::set<std::pair<int, int>> seen;
    for (int thread = 0; thread < 128; ++thread) {
      for (int i = 0; i < columns / 2; ++i) {
        const int row = FragmentRow(thread, i), column = FragmentColumn(thread, i);
        const float value = static_cast<float>((1 + row / 16) * (16 * (row % 16) + column / 16));
        REQUIRE(sums[static_cast<size_t>(thread * (columns / 2) + i)] == value);
        seen.insert({row, column});
      }
    }
    CHECK(seen.size() == static_cast<size_t>(64 * columns));
  }
}

TEST_CASE("layouts fit, align and keep their parts apart") {
  for (int chunks = 1; chunks <= 8; ++chunks) {
    const DecodeLayout layout(chunks);
    INFO("chunks " << chunks);
    CHECK(layout.num_stages >= 2);
    CHECK(layout.num_stages <= kMostStages);
    CHECK(layout.Bytes() <= kSharedBytes);
    std::set<int> starts;
    for (int chunk = 0; chunk <= chunks; ++chunk) {
      starts.insert(layout.Queries(chunk));
      for (int stage = 0; stage < layout.num_stages; ++stage) {
        starts.insert(layout.Stage(stage, chunk));
      }
    }
    starts.insert(layout.Probabilities());
    CHECK(starts.size() == static_cast<size_t>((layout.num_stages + 1) * (chunks + 1) + 1));
    for (const int start : starts) REQUIRE(start % kChunkBytes == 0);
    CHECK(*starts.rbegin() + kChunkBytes == layout.Largest());
    CHECK(layout.Barriers() % 8 == 0);
    CHECK(layout.NumChunks(0) + layout.NumChunks(1) == chunks);
    CHECK(layout.FirstChunk(1) == layout.NumChunks(0));
    CHECK(layout.NumChunks(1) <= 4);  // 256 columns, the widest wgmma
  }
}

// Of a pool of any size, the last block start that the box admits is the last whose rows fit.
TEST_CASE("the latent box ends with the pool") {
  const LayerOffsets layer = {.rows = 512, .alphas = 0, .row_bytes = 1168};
  const int64_t rows_end = layer.rows + kTileRows * layer.row_bytes;
  for (const int64_t bytes : {rows_end, rows_end + 255, rows_end + 256, rows_end + 100'000}) {
    const int64_t starts = NumBlockStarts(bytes, layer);
    CHECK((starts - 1) * kGranuleBytes + rows_end <= bytes);
    CHECK(starts * kGranuleBytes + rows_end > bytes);
  }
}

}  // namespace
}  // namespace latentd::cuda
