// What bf16 weights add to compare_logits.h's bound.
#pragma once

#include <cstdint>

namespace latentd {

// What a logit may be off, in units of Compare's bound. That is of fp32 weights, which round no x.
// With bf16 weights a product's x is rounded, each value by 2^-9 of its size in the root mean
// square, and an output moves by as much of its own. In a layer that happens to h and a on the way
// to the query, to q_C before W_UK and to h on the way to the latent, each of which moves scores,
// and so counts 2S as in Compare; to h again as the latent is a value, to z and to the heads'
// outputs; to h in gate and up, whose outputs multiply, and to what goes down: 8S + 6. Once more
// before the head. The expanded route has no z and rounds q_C once, in Compare's own account:
// outside_scores is the 2 of that bound then.
inline double Allowed(double largest_score, int64_t num_layers, double outside_scores = 1) {
  const auto layers = static_cast<double>(num_layers);
  const double of_rounded_x = layers * (8 * largest_score + 6) + 1;
  return 1 + of_rounded_x / (layers * (4 * largest_score + outside_scores));
}

}  // namespace latentd
