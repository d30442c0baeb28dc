// LatentWrite's second kernel: α of 32 tokens and one group, a block for each.
#pragma once

#include "kernels/cuda/block_sum.h"
#include "kernels/cuda/latent_write_body.h"
#include "kernels/cuda/tile_product.h"

namespace latentd::cuda {

// 2·d_n·w FLOP for each α, W_UK,g read once for 32 tokens. No key is stored: a thread squares its
// outputs as soon as they are whole. Order of the squares: a thread's columns ascending, then the
// 16 threads of a row by halves.
template <typename T>
struct KeyScalarsBody {
  static constexpr int kThreads = kProductThreads;
  struct Shared {
    ProductTile tile;
    float squares[kProductRows][kProductLanes];
  };
  struct Thread {
    ProductSums sums;
    float squares[kRowsPerThread];
  };

  LatentWriteArgs args;

  LATENTD_HD int64_t TokenTiles() const { return CeilDiv(args.latents.rows, kProductRows); }
  LATENTD_HD int Steps() const {
    return static_cast<int>(CeilDiv(args.latents.cols, kProductDepth));
  }
  LATENTD_HD int ProductPhases() const {
    return static_cast<int>(CeilDiv(args.w_uk.rows, kProductCols)) * 2 * Steps();
  }
  static constexpr int kFolds = 4;

  int64_t NumBlocks() const { return TokenTiles() * args.num_kv_groups; }
  LATENTD_HD int NumPhases() const { return ProductPhases() + 1 + kFolds + 1; }
  LATENTD_HD void Run(int phase, int64_t block, int thread, Thread& own, Shared& shared) const {
    const int64_t first_token = block % TokenTiles() * kProductRows;
    const int64_t group = block / TokenTiles();
    const int after = phase - ProductPhases();
    if (after < 0) {
      RunProduct(phase, first_token, group, thread, own, shared);
    } else if (after == 0) {
      for (int i = 0; i < kRowsPerThread; ++i) {
        shared.squares[ThreadRow(thread, i)][ThreadCol(thread, 0)] = own.squares[i];
      }
    } else if (after <= kFolds) {
      Fold(after - 1, thread, shared);
    } else if (thread < kProductRows) {
      Write(first_token + thread, group, shared.squares[thread][0]);
    }
  }

 private:
  LATENTD_HD void RunProduct(int phase, int64_t first_token, int64_t group, int thread, Thread& own,
                             Shared& shared) const {
    const int64_t first_col = int64_t{phase / (2 * Steps())} * kProductCols;
    const int step = phase / 2 % Steps();
    const int64_t first_k = int64_t{step} * kProductDepth, width = args.latents.cols;
    if (phase == 0) {
      for (int i = 0; i < kRowsPerThread; ++i) own.squares[i] = 0;
    }
    if (phase % 2 == 0) {
      if (step == 0) ClearSums(own.sums);
      Load(first_token, group, first_col, first_k, thread, shared);
      return;
    }
    Multiply(shared.tile, StepDepth(width, first_k), thread, own.sums);
    if (step + 1 == Steps()) AddSquares(first_col, thread, own);
  }
  LATENTD_HD void Load(int64_t first_token, int64_t group, int64_t first_col, int64_t first_k,
                       int thread, Shared& shared) const {
    const T* data = static_cast<const T*>(args.w_uk.data) + group * args.w_uk_group_stride;
    const ProductWeights<T> w = {data, args.w_uk.rows, args.latents.cols, args.w_uk.ld, false};
    LoadWeights(w, first_col, first_k, thread, shared.tile);
    const auto stored = [&](int row, int k) {
      const int64_t token = first_token + row;
      if (token >= args.latents.rows || first_k + k >= args.latents.cols) return 0.0f;
      const int64_t slot = args.slots[token];
      if (slot < 0) return 0.0f;
      return ToFloat(reinterpret_cast<const bf16*>(SlotRow(args, slot))[first_k + k]);
    };
    LoadRows(stored, thread, shared.tile);
  }
  LATENTD_HD void AddSquares(int64_t first_col, int thread, Thread& own) const {
    for (int i = 0; i < kRowsPerThread; ++i) {
      for (int j = 0; j < kColsPerThread; ++j) {
        const float key = own.sums.at[i][j];
        if (first_col + ThreadCol(thread, j) < args.w_uk.rows) own.squares[i] += key * key;
      }
    }
  }
  LATENTD_HD static void Fold(int fold, int thread, Shared& shared) {
    const int half = kProductLanes >> (fold + 1);
    const int lane = ThreadCol(thread, 0);
    if (lane >= half) return;
    for (int i = 0; i < kRowsPerThread; ++i) {
      float* row = shared.squares[ThreadRow(thread, i)];
      row[lane] += row[lane + half];
    }
  }
  LATENTD_HD void Write(int64_t token, int64_t group, float squares) const {
    if (token >= args.latents.rows || args.slots[token] < 0) return;
    const bool unified = args.key_norm == KeyNorm::kUnified;
    const float sum = unified ? squares + args.key_squares[token] : squares;
    const int64_t count = args.w_uk.rows + (unified ? args.keys.cols : 0);
    SlotAlphas(args, args.slots[token])[group] = InverseRoot(sum, count, args.key_epsilon);
  }
};

// run(body), of the weights' type. REQUIRES: key norm.
template <typename Run>
void WithKeyScalars(const LatentWriteArgs& args, const Run& run) {
  LATENTD_CHECK(args.w_uk.rows >= 1 && args.w_uk.cols == args.latents.cols &&
                args.w_uk.ld >= args.w_uk.cols && args.num_kv_groups >= 1);
  LATENTD_CHECK(args.layer.alphas % 4 == 0);
  LATENTD_CHECK(args.keys.cols == 0 || args.key_norm_weight != nullptr);
  LATENTD_CHECK(args.key_norm != KeyNorm::kUnified || args.key_squares != nullptr);
  ForWeightType(args.w_uk.dtype,
                [&](auto element) { run(KeyScalarsBody<decltype(element)>{args}); });
}

}  // namespace latentd::cuda
