// Weights of one row of scores in vectors. Included by the path files alone; internal linkage, as
// dot_tile.h. Ops are the vector operations of attention_tile.h.
#pragma once

#include <cstdint>

namespace latentd {
namespace {

template <class Ops>
float SoftmaxWeights(float* scores, int64_t count, float scale, float* largest) {
  typename Ops::Vec top = Ops::Load(scores);
  for (int64_t i = Ops::kLanes; i < count; i += Ops::kLanes) {
    top = Ops::Max(top, Ops::Load(scores + i));
  }
  const float highest = scale * Ops::MaxLanes(top);
  if (highest > *largest) *largest = highest;
  const typename Ops::Vec offset = Ops::Set1(*largest), factor = Ops::Set1(scale);
  typename Ops::Vec sum = Ops::Set1(0);
  for (int64_t i = 0; i < count; i += Ops::kLanes) {
    const typename Ops::Vec x = Ops::Sub(Ops::Mul(Ops::Load(scores + i), factor), offset);
    const typename Ops::Vec p = Ops::RoundP(Ops::Exp(x));
    Ops::Store(scores + i, p);
    sum = Ops::Add(sum, p);
  }
  return Ops::SumLanes(sum);
}

}  // namespace
}  // namespace latentd
