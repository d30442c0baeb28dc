// Whether two attentions computed the same thing, as far as rounding lets one say. Pure host
// functions. Queries and latents are random, of size [0.5, 1) and either sign.
#pragma once

#include <cstdint>
#include <span>

namespace latentd::bench {

// The output that lies farthest from the reference; one that is not a number lies farthest of all.
struct Worst {
  int64_t row = 0, lane = 0;
  double got = 0, expected = 0, difference = 0;
};
// REQUIRES: both of one size, whole rows of `lanes`, not empty.
Worst WorstOf(std::span<const float> got, std::span<const double> expected, int64_t lanes);

// The most that a right result may differ from the reference, where it counts most: in a short
// context. Weights add up to 1, so that a relative error e of each moves an output by e.
// - Rounding to bf16, 2^-9 each: of weights; of partial sums, where a library keeps them so; of
//   outputs.
// - A score is 576 products below 1, added to an fp32 sum 16 at a time, which loses 2^-20 of it at
//   most: 36 · 576 · 2^-20 · 1/24 < 2^-10, for a weight and once more for the sum of weights.
constexpr double kMostDifference = 3 * 0x1p-9 + 2 * 0x1p-10;

// The row of a that lies farthest from b's, as ‖a − b‖ / ‖b‖; infinite where that is not a number.
// REQUIRES: as WorstOf.
double FarthestRow(std::span<const float> a, std::span<const float> b, int64_t lanes);

// The most that rows of two right results may be apart so. In a long context outputs are small
// beside kMostDifference, but signs of values are random, and so an independent relative error e of
// each weight moves a row by e of its norm: the errors above, weights' and scores' twice, as either
// result has them. A block of 64 tokens that is left out moves a row of 256k by 1/64.
constexpr double kMostDistance = 4 * 0x1p-9 + 4 * 0x1p-10;

}  // namespace latentd::bench
