// WeighSpan: 32 threads for each row of scores. MergeSpan: a thread for each output.
//
// Bytes of a span's scores, a query, key and head: 4 written by the product and 4 read (a second
// time from the processor's own cache), 2 of the weight written and 2 read. Of DeepSeek-V3's sizes
// its 640 FLOP take 0.8 ps at 800 TFLOP/s, the absorbed route's 2176 take 2.7 ps; 12 bytes from
// memory at 3.3 TB/s would take 3.6 ps. So the route gains only as far as the L2 (50 MB), whose
// rate is not published, holds them: a piece of 8192 rows and 512 keys has 16 MiB of scores and 8
// MiB of weights.
#pragma once

#include <cmath>

#include "kernels/cuda/body.h"
#include "kernels/cuda/expanded_parts.h"
#include "kernels/cuda/partial_softmax.h"

namespace latentd::cuda {

struct WeighSpanBody {
  static constexpr int kThreads = 256;
  static constexpr int kLanes = 32;  // of a row
  static constexpr int kRows = kThreads / kLanes;
  static constexpr int kFolds = 5;
  struct Shared {
    float largest[kThreads];
    float sums[kThreads];
  };
  struct Thread {};

  WeighSpanArgs args;

  int64_t NumBlocks() const { return CeilDiv(args.num_heads * args.num_queries, kRows); }
  LATENTD_HD int NumPhases() const { return 2 * (kFolds + 1) + 1; }
  LATENTD_HD void Run(int phase, int64_t block, int thread, Thread&, Shared& shared) const {
    const int lane = thread % kLanes;
    const int64_t row = block * kRows + thread / kLanes;  // of [num_heads][num_queries]
    if (row >= args.num_heads * args.num_queries) return;
    if (phase == 0) {
      shared.largest[thread] = Largest(row, lane);
    } else if (phase <= kFolds) {
      const int half = kLanes >> phase;
      float* largest = shared.largest + thread;
      if (lane < half) largest[0] = fmaxf(largest[0], largest[half]);
    } else if (phase == kFolds + 1) {
      shared.sums[thread] = Weigh(row, lane, LargestNow(row, shared.largest[thread - lane]));
    } else if (phase < NumPhases() - 1) {
      const int half = kLanes >> (phase - kFolds - 1);
      if (lane < half) shared.sums[thread] += shared.sums[thread + half];
    } else if (lane == 0 && row % args.num_queries < args.num_rows) {
      Keep(row, LargestNow(row, shared.largest[thread]), shared.sums[thread]);
    }
  }

 private:
  // Tokens that a row sees.
  LATENTD_HD int64_t Visible(int64_t row) const {
    const int64_t t = row % args.num_queries, visible = args.visible + t;
    if (t >= args.num_rows || visible < 0) return 0;
    return visible < args.num_keys ? visible : args.num_keys;
  }
  LATENTD_HD int64_t State(int64_t row) const {
    return row % args.num_queries * args.state_ld + row / args.num_queries;
  }
  LATENTD_HD float LargestBefore(int64_t row) const {
    const bool is_empty = args.is_first || row % args.num_queries >= args.num_rows;
    return is_empty ? kNoScore : args.largest[State(row)];
  }
  LATENTD_HD float LargestNow(int64_t row, float in_span) const {
    return fmaxf(LargestBefore(row), args.softmax_scale * in_span);
  }
  LATENTD_HD float Largest(int64_t row, int lane) const {
    float largest = kNoScore;
    const int64_t visible = Visible(row);
    for (int64_t k = lane; k < visible; k += kLanes) {
      largest = fmaxf(largest, args.scores[row * args.ld + k]);
    }
    return largest;
  }
  // The lane's part of the sum.
  LATENTD_HD float Weigh(int64_t row, int lane, float largest) const {
    float sum = 0;
    const int64_t visible = Visible(row);
    for (int64_t k = lane; k < args.padded_keys; k += kLanes) {
      const int64_t place = row * args.ld + k;
      const bf16 weight =
          k < visible ? ToBf16(expf(args.softmax_scale * args.scores[place] - largest)) : bf16{0};
      args.weights[place] = weight;
      sum += ToFloat(weight);
    }
    return sum;
  }
  LATENTD_HD void Keep(int64_t row, float largest, float added) const {
    const float kept = args.is_first ? 0.0f : expf(LargestBefore(row) - largest);
    args.kept[row] = kept;
    float* sum = args.sums + State(row);
    *sum = args.is_first ? added : *sum * kept + added;
    args.largest[State(row)] = largest;
  }
};
inline WeighSpanBody MakeWeighSpan(const WeighSpanArgs& args) {
  LATENTD_CHECK(args.num_rows <= args.num_queries && args.num_keys <= args.padded_keys &&
                args.padded_keys <= args.ld && args.num_heads <= args.state_ld);
  LATENTD_CHECK(args.softmax_scale > 0);
  return {args};
}

struct MergeSpanBody : ElementGrid {
  MergeSpanArgs args;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t t = i / cols, head = i % cols / args.value_dim, j = i % cols % args.value_dim;
    const int64_t row = head * args.num_queries + t;
    float* out = RowOf(args.out, t) + i % cols;
    float value = args.products[row * args.products_ld + j];
    if (!args.is_first) value = *out * args.kept[row] + value;
    if (args.is_last) value /= args.sums[t * args.state_ld + head];
    *out = value;
  }
};
inline MergeSpanBody MakeMergeSpan(const MergeSpanArgs& args) {
  LATENTD_CHECK(args.out.rows <= args.num_queries &&
                args.out.cols == args.num_heads * args.value_dim &&
                args.value_dim <= args.products_ld);
  return {{args.out.rows, args.out.cols}, args};
}

}  // namespace latentd::cuda
