#include "engine/model/cache_shape.h"
#include "kernels/core/rounding.h"

#include <functional>
#include <set>

namespace latentd {
namespace {

constexpr int64_t kElasticBlocks = 16;  // P
constexpr int64_t kLanes = 64;          // rows are rounded up to so many

int64_t RowLatent(int64_t rank) { return RoundUp(rank, kLanes); }

}  // namespace

PageShape CacheShapeOf(const ModelConfig& config, CacheFormat format) {
  std::set<int64_t, std::greater<>> rows = {RowLatent(config.kv_lora_rank)};
  if (config.elastic) {
    for (const int64_t rank : config.elastic->kv_lora_ranks) rows.insert(RowLatent(rank));
    for (int64_t row = kLanes; config.elastic->continuous && row < config.kv_lora_rank;
         row += kLanes) {
      rows.insert(row);
    }
  }
  PageShape shape;
  for (const int64_t row : rows) {
    shape.classes.push_back(BlockLayout::Make(config.num_layers, row, config.qk_rope_head_dim,
                                              config.num_alphas(), format));
  }
  shape.full_blocks = shape.classes.size() > 1 ? kElasticBlocks : 1;
  return shape;
}

}  // namespace latentd
