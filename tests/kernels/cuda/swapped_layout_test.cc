// Exchanged roles: who takes them, and where their operands lie, against hopper_model.h.
#include "kernels/cuda/swapped_layout.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/hopper_model.h"

namespace latentd::cuda {
namespace {

std::vector<SwappedLayout> Layouts() {
  std::vector<SwappedLayout> layouts;
  for (const int columns : {16, 32, 64}) {
    for (int chunks = 1; chunks <= 8; ++chunks) layouts.emplace_back(chunks, columns);
  }
  return layouts;
}

TEST_CASE("heads choose the roles, rows only the width") {
  for (int rows = 1; rows <= kTileRows; ++rows) {
    for (const int heads : {1, 12, 16, 32}) {
      const int columns = DecodeColumns(heads, rows);
      CHECK(columns >= rows);
      CHECK((columns == 16 || columns / 2 < rows));
    }
    for (const int heads : {33, 64, 128}) CHECK(DecodeColumns(heads, rows) == 0);
  }
}

TEST_CASE("shared memory of exchanged roles fits, aligned and apart") {
  for (const SwappedLayout& layout : Layouts()) {
    INFO("chunks " << layout.latent_chunks << ", columns " << layout.columns);
    std::vector<std::pair<int, int>> parts;  // begin, bytes; in order
    for (int chunk = 0; chunk <= layout.latent_chunks; ++chunk) {
      parts.emplace_back(layout.Queries(chunk), layout.columns * 128);
    }
    parts.emplace_back(layout.Weights(), layout.columns * 128);
    for (int slot = 0; slot < layout.num_slots; ++slot) {
      parts.emplace_back(layout.Slot(slot), 8192);
    }
    for (const auto& [begin, bytes] : parts) CHECK(begin % 1024 == 0);
    parts.emplace_back(layout.Numbers(), 10 * 4 * layout.columns);
    parts.emplace_back(layout.Barriers(), 8 * NumBarriers(layout.num_slots));
    int end = 0;
    for (const auto& [begin, bytes] : parts) {
      CHECK(begin >= end);
      end = begin + bytes;
    }
    CHECK(end == layout.Bytes());
    CHECK(end <= kSharedBytes);
    CHECK(end + kChunkBytes + 16 > kSharedBytes);  // no slot more would fit
    CHECK(layout.Barriers() % 8 == 0);
    CHECK(layout.num_slots >= 2 * (layout.latent_chunks + 1));
    CHECK(layout.NumChunks(0) + layout.NumChunks(1) == layout.latent_chunks);
    CHECK(layout.FirstChunk(1) == layout.NumChunks(0));
  }
}

// Scores: tokens as A's rows, queries as B's columns, depth along the lanes of both.
TEST_CASE("the operands of Sᵀ are the tile's tokens and the queries that TMA brought") {
  for (const SwappedLayout& layout : Layouts()) {
    // Element (row, lane) of q holds a number of its own among the box's.
    const int width = (layout.latent_chunks + 1) * kChunkLanes;
    std::vector<uint16_t> q(static_cast<size_t>(3 + layout.columns) * static_cast<size_t>(width));
    const auto number = [&](int row, int lane) {
      return static_cast<uint16_t>(1 + row * kChunkLanes + lane % kChunkLanes);
    };
    for (int row = 0; row < layout.columns; ++row) {
      for (int lane = 0; lane < width; ++lane) {
        q[static_cast<size_t>((3 + row) * width + lane)] = number(row, lane);
      }
    }
    std::vector<std::byte> shared(kSharedBytes);
    const TensorBox box = QueryBox(width, 3 + layout.columns, 2 * width, layout.columns);
    for (int chunk = 0; chunk <= layout.latent_chunks; ++chunk) {
      const auto to = static_cast<uint32_t>(layout.Queries(chunk));
      ModelTmaLoad(std::as_bytes(std::span(q)), box, {chunk * kChunkLanes, 3, 0}, shared, to);
      for (int step = 0; step < kStepsPerChunk; ++step) {
        const uint64_t b = Advance(DescriptorAlongLanes(to), step * kStepBytesAlongLanes);
        for (int row = 0; row < layout.columns; ++row) {
          for (int k = 0; k < kStepLanes; ++k) {
            uint16_t value;
            std::memcpy(&value, &shared[OperandByte(b, Major::kDepth, row, k)], sizeof value);
            REQUIRE(value == number(row, chunk * kChunkLanes + step * kStepLanes + k));
          }
        }
      }
    }
  }
}

// Oᵀ: lanes of a chunk as A's rows, its tokens the depth; query rows as B's columns, the depth
// along their tokens.
TEST_CASE("the operands of Oᵀ are the tile's lanes and the weights where threads write them") {
  for (const SwappedLayout& layout : Layouts()) {
    const auto slot = static_cast<uint32_t>(layout.Slot(layout.num_slots - 1));
    const auto weights = static_cast<uint32_t>(layout.Weights());
    for (int step = 0; step < kStepsPerChunk; ++step) {
      const uint64_t a = Advance(DescriptorAlongRows(slot), step * kStepBytesAlongRows);
      const uint64_t b = Advance(DescriptorAlongLanes(weights), step * kStepBytesAlongLanes);
      for (int k = 0; k < kStepLanes; ++k) {
        const int token = step * kStepLanes + k;
        for (int lane = 0; lane < kChunkLanes; ++lane) {
          REQUIRE(OperandByte(a, Major::kOther, lane, k) == slot + ChunkByte(token, lane));
        }
        for (int row = 0; row < layout.columns; ++row) {
          REQUIRE(OperandByte(b, Major::kDepth, row, k) == weights + ChunkByte(row, token));
        }
      }
    }
  }
}

TEST_CASE("four registers on, a thread's weights lie eight rows on, and a warp's in all banks") {
  for (int i = 0; i < kTileRows / 2; ++i) {
    std::set<uint32_t> words;
    for (int thread = 0; thread < kThreadsOfGroup; ++thread) {
      const auto byte_of = [&](int j) {
        return ChunkByte(FragmentColumn(thread, j), FragmentRow(thread, j));
      };
      REQUIRE(byte_of(i) == byte_of(i % 4) + static_cast<uint32_t>(i / 4) * kPatternBytes);
      if (thread < 32) words.insert(byte_of(i) / 4 % 32);
    }
    REQUIRE(words.size() == 16);  // 32 halves of words
  }
}

}  // namespace
}  // namespace latentd::cuda
