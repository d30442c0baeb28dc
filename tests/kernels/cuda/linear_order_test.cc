// The order of MatrixLinear's sums, its tiles and its layout, without a device.
#include "kernels/cuda/linear_order.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <vector>

#include "kernels/cuda/matrix_linear_params.h"
#include "tests/kernels/cuda/hopper_model.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

constexpr int kTileWidths[] = {8, 16, 32, 64, 128};

// One output as matrix_linear.h states it: chunks of 64 fall into 1, 2, 4 or 8 parts, as many as
// have 256 lanes each; steps of 16 add up alone, from zero, before they come to the part's sum (the
// model of hopper_model.h; what the hardware does inside a step is its own).
float Stated(const std::vector<float>& x, const std::vector<bf16>& w) {
  const size_t k = x.size(), chunks = (k + 63) / 64;
  const size_t parts = k >= 2048 ? 8 : k >= 1024 ? 4 : k >= 512 ? 2 : 1;
  float sum = 0;
  for (size_t part = 0; part < parts; ++part) {
    float of_part = 0;
    for (size_t first = chunks * part / parts * 64; first < chunks * (part + 1) / parts * 64;
         first += 16) {
      float of_step = 0;
      for (size_t i = first; i < first + 16 && i < k; ++i) {
        of_step += ToFloat(w[i]) * RoundToBf16(x[i]);
      }
      of_part += of_step;
    }
    sum = part == 0 ? of_part : sum + of_part;
  }
  return sum;
}

TEST_CASE("an output has the bits of the stated order") {
  std::mt19937 rng(1);
  const auto draw = [&](int from, int to) { return std::uniform_int_distribution(from, to)(rng); };
  for (int round = 0; round < 24; ++round) {
    const int64_t m = draw(1, round % 4 == 0 ? 200 : 20), n = draw(1, 100);
    const int64_t k = draw(1, m > 20 ? 600 : 2300);
    const int64_t ld = (std::max(n, k) + 7) / 8 * 8 + 8 * draw(0, 3);
    const bool transposed = draw(0, 1) == 1;
    const std::vector<float> x = RandomFloats(rng, m * k);
    std::vector<bf16> w;
    for (const float value : RandomFloats(rng, (transposed ? k : n) * ld)) {
      w.push_back(ToBf16(value));
    }
    std::vector<float> y(static_cast<size_t>(m * n));
    LinearArgs straight;
    LinearTransposedArgs turned;
    straight.x = turned.x = View(x, m, k);
    straight.w = turned.w = {w.data(), DType::kBF16, transposed ? k : n, transposed ? n : k, ld};
    straight.y = turned.y = View(y, m, n);
    const MatrixProduct product = transposed ? MatrixProduct(turned) : MatrixProduct(straight);
    const LinearPlan plan = PlanLinear(product, draw(1, 132));
    INFO("M " << m << " N " << n << " K " << k << " tile " << plan.tile_tokens << " cluster "
              << plan.cluster << " transposed " << transposed);
    MatrixLinear(nullptr, product, plan);
    for (int64_t col = 0; col < n; ++col) {
      std::vector<bf16> of_col;
      for (int64_t i = 0; i < k; ++i) {
        of_col.push_back(w[static_cast<size_t>(transposed ? i * ld + col : col * ld + i)]);
      }
      for (int64_t row = 0; row < m; ++row) {
        const float stated = Stated({x.begin() + row * k, x.begin() + (row + 1) * k}, of_col);
        REQUIRE(y[static_cast<size_t>(row * n + col)] == stated);
      }
    }
  }
}

TEST_CASE("parts cover K in ascending order, none of them empty") {
  for (int k = 1; k < 20'000; k += k < 3000 ? 1 : 97) {
    const int chunks = NumLaneChunks(k), parts = NumParts(k);
    REQUIRE((parts == 1 || k >= parts * kLeastPartLanes));
    REQUIRE((parts == kMostParts || k < 2 * parts * kLeastPartLanes));
    REQUIRE(PartBegin(chunks, parts, 0) == 0);
    REQUIRE(PartBegin(chunks, parts, parts) == chunks);
    for (int part = 0; part < parts; ++part) {
      REQUIRE(PartBegin(chunks, parts, part) < PartBegin(chunks, parts, part + 1));
    }
  }
}

TEST_CASE("tiles cover every output once, and a cluster every part") {
  for (const int width : kTileWidths) {
    const LinearLayout layout(width);
    for (const int cluster : {1, 4}) {
      LinearArgs args;
      args.x.rows = 150;
      args.w.rows = 200;
      args.w.cols = 1100;
      args.batch = 3;
      const LinearParams params = LinearParamsOf(args, {width, cluster});
      std::set<std::array<int64_t, 3>> outputs;
      int64_t count = 0;
      for (int number = 0; number < NumTiles(params); ++number) {
        const LinearTile tile = LinearTileOf(params, layout, number);
        REQUIRE(tile.num_tokens >= 1);
        for (int token = 0; token < tile.num_tokens; ++token) {
          for (int row = tile.first_row; row < tile.first_row + layout.Rows() && row < params.n;
               ++row, ++count) {
            outputs.insert({tile.batch, tile.first_token + token, row});
          }
        }
      }
      CHECK(count == 3 * 150 * 200);
      CHECK(outputs.size() == static_cast<size_t>(count));
      int next = 0;
      for (int rank = 0; rank < cluster; ++rank) {
        const PartRange chunks = ChunksOfBlock(params, rank);
        CHECK(chunks.first == next);
        next = chunks.end;
      }
      CHECK(next == NumLaneChunks(params.k));
    }
  }
}

TEST_CASE("a plan takes the narrowest tile that holds the rows, and parts when tiles are few") {
  LinearArgs args;
  args.w = {nullptr, DType::kBF16, 6400, 7168, 7168};
  const auto plan = [&](int64_t rows) {
    args.x.rows = rows;
    return PlanLinear(args, 132);
  };
  CHECK(plan(1).tile_tokens == 8);
  CHECK(plan(9).tile_tokens == 16);
  CHECK(plan(64).tile_tokens == 64);
  CHECK(plan(65).tile_tokens == 128);
  CHECK(plan(4000).tile_tokens == 128);
  CHECK(plan(8).cluster == 8);     // 100 tiles of 64 rows
  CHECK(plan(1000).cluster == 1);  // 400 of 128
  CHECK(PlanLinear(args, 2).cluster == 1);
  args.w.cols = 500;
  CHECK(plan(8).cluster == 1);  // one part
}

TEST_CASE("a ring fits as often as planned, and its operands are found where they were put") {
  for (const int width : kTileWidths) {
    const LinearLayout layout(width);
    INFO("tile of " << width);
    CHECK(layout.num_stages >= kTokenWarps);
    CHECK(layout.Bytes() <= kSharedBytes);
    CHECK(layout.blocks * (layout.Bytes() + kBlockReservedBytes) <= kProcessorSharedBytes);
    CHECK(16 * layout.num_stages <= LinearLayout::kBarrierBytes);
    CHECK(layout.Sum(width - 1, layout.Rows() - 1) + 4 <= layout.Barriers());
    for (int stage = 0; stage < layout.num_stages; ++stage) {
      REQUIRE(layout.Weights(stage, 0) % 1024 == 0);
      REQUIRE(layout.Tokens(stage) % 1024 == 0);
      REQUIRE(layout.Tokens(stage) + width * kChunkRowBytes == layout.Weights(stage + 1, 0));
      const auto tokens = static_cast<uint32_t>(layout.Tokens(stage));
      for (int step = 0; step < kStepsPerChunk; ++step) {
        const uint64_t operand = Advance(DescriptorAlongLanes(tokens), step * kStepBytesAlongLanes);
        for (int token = 0; token < width; ++token) {
          for (int k = 0; k < kStepLanes; ++k) {
            REQUIRE(OperandByte(operand, Major::kDepth, token, k) ==
                    tokens + ChunkByte(token, step * kStepLanes + k));
          }
        }
      }
    }
  }
}

TEST_CASE("the lanes of a rounding warp move every element of a tile once") {
  for (const int width : kTileWidths) {
    std::set<uint32_t> bytes;
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < NumTokenPieces(width); ++i) {
        const TokenPiece piece = TokenPieceOf(lane, i);
        bytes.insert(ChunkByte(piece.token, piece.lane));
        // Four lanes stay neighbours under the swizzle.
        REQUIRE(ChunkByte(piece.token, piece.lane + 3) == ChunkByte(piece.token, piece.lane) + 6);
      }
    }
    CHECK(bytes.size() == static_cast<size_t>(width * kChunkLanes / 4));
    CHECK(*bytes.rbegin() == static_cast<uint32_t>(width * kChunkRowBytes - 8));
  }
}

// 32 lanes of a warp, one register each, in 32 banks.
TEST_CASE("sums are written to different banks") {
  for (const int width : kTileWidths) {
    const LinearLayout layout(width);
    for (int i = 0; i < width / 2; ++i) {
      std::set<int> banks;
      for (int thread = 32; thread < 64; ++thread) {
        banks.insert(layout.Sum(FragmentColumn(thread, i), FragmentRow(thread, i)) / 4 % 32);
      }
      REQUIRE(banks.size() == 32);
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
