// LatentWrite's first kernel: c and kR of a token, a block for each.
#pragma once

#include "kernels/cuda/block_sum.h"
#include "kernels/cuda/latent_write.h"
#include "kernels/cuda/rope_body.h"

namespace latentd::cuda {

// Where a slot number points.
LATENTD_HD inline std::byte* SlotRow(const LatentWriteArgs& args, int64_t slot) {
  return args.pool + slot / kBlockTokens * kGranuleBytes + args.layer.rows +
         slot % kBlockTokens * args.layer.row_bytes;
}
LATENTD_HD inline float* SlotAlphas(const LatentWriteArgs& args, int64_t slot) {
  auto* alphas =
      reinterpret_cast<float*>(args.pool + slot / kBlockTokens * kGranuleBytes + args.layer.alphas);
  return alphas + slot % kBlockTokens * args.num_kv_groups;
}

// Bound by memory: reads the projection twice (the second time from cache), writes 2 bytes a lane.
struct LatentWriteBody {
  static constexpr int kThreads = kSumThreads;
  struct Shared {
    float latent[kThreads];  // sums of squares
    float key[kThreads];
  };
  struct Thread {
    float a, b;  // the rotary pair of the thread's number, if there is one
  };

  LatentWriteArgs args;

  int64_t NumBlocks() const { return args.latents.rows; }
  LATENTD_HD int NumPhases() const { return 1 + kFoldPhases + 1; }
  LATENTD_HD void Run(int phase, int64_t token, int thread, Thread& own, Shared& shared) const {
    const int64_t slot = args.slots[token];
    if (slot < 0) return;
    if (phase == 0) {
      shared.latent[thread] = PartialSquares(RowOf(args.latents, token), args.latents.cols, thread);
      shared.key[thread] = LoadPair(token, thread, own);
    } else if (phase <= kFoldPhases) {
      FoldByHalves(phase - 1, thread, shared.latent);
      FoldByHalves(phase - 1, thread, shared.key);
    } else {
      auto* row = reinterpret_cast<bf16*>(SlotRow(args, slot));
      WriteLatent(token, thread, shared.latent[0], row);
      WritePair(token, thread, shared.key[0], own, row + args.row_latent);
      if (args.key_norm == KeyNorm::kUnified && thread == 0) {
        args.key_squares[token] = shared.key[0];
      }
    }
  }

 private:
  LATENTD_HD int64_t NumPairs() const { return args.keys.cols / 2; }
  LATENTD_HD bool RotatesFirst() const {
    return args.key_norm != KeyNorm::kNone && !args.norm_before_rope;
  }
  LATENTD_HD void RotatePair(int64_t token, int thread, Thread& own) const {
    Rotate(RowOf(args.angles, token), thread, NumPairs(), own.a, own.b);
  }
  // Sum of the pair's squares, as they enter the norm.
  LATENTD_HD float LoadPair(int64_t token, int thread, Thread& own) const {
    if (thread >= NumPairs()) return 0;
    const RotaryPair pair = PairOf(thread, NumPairs(), args.interleaved);
    own.a = RowOf(args.keys, token)[pair.first];
    own.b = RowOf(args.keys, token)[pair.second];
    if (RotatesFirst()) RotatePair(token, thread, own);
    return own.a * own.a + own.b * own.b;
  }
  LATENTD_HD void WriteLatent(int64_t token, int thread, float squares, bf16* row) const {
    const int64_t width = args.latents.cols;
    const float* from = RowOf(args.latents, token);
    const float rho = InverseRoot(squares, width, args.latent_epsilon);
    for (int64_t j = thread; j < args.row_latent; j += kThreads) {
      row[j] = j < width ? ToBf16(args.latent_norm[j] * (from[j] * rho)) : bf16{0};
    }
  }
  LATENTD_HD void WritePair(int64_t token, int thread, float squares, Thread& own, bf16* to) const {
    const int64_t width = args.keys.cols;
    const int64_t row_end = args.row_latent + width;
    if (thread < CeilDiv(row_end, 8) * 8 - row_end) to[width + thread] = bf16{0};
    if (thread >= NumPairs()) return;
    const RotaryPair pair = PairOf(thread, NumPairs(), args.interleaved);
    if (args.key_norm != KeyNorm::kNone) {
      const bool blockwise = args.key_norm == KeyNorm::kBlockwise;
      const float rho = blockwise ? InverseRoot(squares, width, args.key_epsilon) : 1;
      own.a = args.key_norm_weight[pair.first] * (own.a * rho);
      own.b = args.key_norm_weight[pair.second] * (own.b * rho);
    }
    if (!RotatesFirst()) RotatePair(token, thread, own);
    to[pair.first] = ToBf16(own.a);
    to[pair.second] = ToBf16(own.b);
  }
};

inline LatentWriteBody MakeLatentWrite(const LatentWriteArgs& args) {
  const int64_t width = args.latents.cols, rope_dim = args.keys.cols;
  LATENTD_CHECK(width >= 1 && width <= args.row_latent && args.row_latent % 64 == 0);
  LATENTD_CHECK(args.layer.format == CacheFormat::kBf16 && "the device stores no int8 latents yet");
  LATENTD_CHECK(rope_dim % 2 == 0 && rope_dim / 2 <= kSumThreads);
  LATENTD_CHECK(args.layer.row_bytes % 16 == 0 &&
                args.layer.row_bytes >= 2 * (args.row_latent + rope_dim));
  if (rope_dim > 0) {
    LATENTD_CHECK(args.keys.rows == args.latents.rows && args.angles.rows == args.latents.rows &&
                  args.angles.cols == rope_dim);
  }
  return {args};
}

}  // namespace latentd::cuda
