// A random model's projections as the loader makes them of `--weights int8`.
#pragma once

#include <memory>

#include "kernels/quantise.h"
#include "tests/engine/model/random_model.h"

namespace latentd {

// The head too.
inline void MakeInt8(RandomModel* model) {
  const auto convert = [model](WeightView& view) {
    if (!view) return;
    const auto bytes = static_cast<size_t>(Int8Bytes(view.rows, view.cols));
    auto& memory = model->storage.emplace_back(
        std::make_unique<std::vector<float>>((bytes + sizeof(float) - 1) / sizeof(float)));
    view = QuantiseToInt8(view, reinterpret_cast<std::byte*>(memory->data()));
  };
  const auto convert_mlp = [&convert](MlpWeights& mlp) {
    for (WeightView* view : {&mlp.gate, &mlp.up, &mlp.down}) convert(*view);
  };
  convert(model->weights.lm_head);
  for (LayerWeights& w : model->weights.layers) {
    for (WeightView* view : {&w.q_proj, &w.q_a_proj, &w.q_b_proj, &w.kv_a_proj, &w.o_proj}) {
      convert(*view);
    }
    convert_mlp(w.mlp);
    convert_mlp(w.shared_expert);
    for (MlpWeights& expert : w.experts) convert_mlp(expert);
  }
}

}  // namespace latentd
