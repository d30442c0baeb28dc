// A model on the CPU executor over block tables of its own, run in whatever portions a test wants.
#pragma once

#include <cmath>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "engine/model/model_executor.h"
#include "kernels/core/thread_pool.h"
#include "tests/engine/model/random_model.h"
#include "tests/engine/model/step_runner.h"

namespace latentd {

inline ModelConfig Geometry() {
  ModelConfig config;
  config.hidden_size = 48;
  config.num_layers = 2;
  config.num_heads = 6;
  config.num_kv_groups = 6;
  config.q_lora_rank = 24;
  config.kv_lora_rank = 40;  // not a multiple of 64: the row is padded
  config.qk_nope_head_dim = 12;
  config.qk_rope_head_dim = 8;
  config.v_head_dim = 10;
  config.intermediate_size = 64;
  config.vocab_size = 50;
  config.max_context = 256;
  config.softmax_scale = 1 / std::sqrt(20.0f);
  config.rope.inv_freq = {1, 0.1, 0.01, 0.001};
  return config;
}

inline std::vector<uint32_t> Tokens(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> ids(count);
  for (uint32_t& id : ids) id = random() % 50;
  return ids;
}

struct Runner : StepRunner {
  Runner(const RandomModel& model, int threads, CpuPath path = BestCpuPath(),
         Determinism determinism = Determinism::kStrict, CacheFormat cache = CacheFormat::kBf16)
      : pool(threads), context{path, &pool} {
    const ModelConfig& c = model.config;
    const BlockLayout layout =
        BlockLayout::Make(c.num_layers, c.kv_lora_rank, c.qk_rope_head_dim, c.num_alphas(), cache);
    blocks = *BlockPool::Create(layout, 32, {.poison = true, .may_allocate = {}});
    executor = std::make_unique<ModelExecutor>(c, model.weights, context, layout, blocks->base(),
                                               512, determinism);
  }

  void Step(const std::vector<std::pair<Sequence*, int64_t>>& portions) {
    StepRunner::Step(executor.get(), portions);
  }

  ThreadPool pool;
  Context context;
  std::unique_ptr<ModelExecutor> executor;
};

inline std::vector<std::vector<float>> RunWhole(const RandomModel& model,
                                                const std::vector<uint32_t>& ids, Width width = {},
                                                CpuPath path = BestCpuPath(),
                                                Determinism determinism = Determinism::kStrict,
                                                CacheFormat cache = CacheFormat::kBf16) {
  Runner runner(model, 1, path, determinism, cache);
  auto s = runner.NewSequence(ids, width);
  runner.Step({{&s, static_cast<int64_t>(ids.size())}});
  return s.logits;
}

}  // namespace latentd
