#include "bench/gpu/report_json.h"

#include <cstdio>

#include "bench/gpu/quantile.h"

namespace latentd::bench {

int Print(const Json& json) {
  std::printf("%s\n", json.dump(1).c_str());
  return 0;
}

Json Described(const DecodeShape& shape, const std::vector<double>& seconds) {
  return {{"batch", shape.batch},
          {"context", shape.context},
          {"query_tokens", shape.query_tokens},
          {"num_heads", shape.num_heads},
          {"num_kv_groups", shape.num_kv_groups},
          {"may_pair", shape.may_pair},
          {"may_swap", shape.may_swap},
          {"floor_bytes", FloorBytes(shape)},
          {"floor_flops", FloorFlops(shape)},
          {"median_seconds", Quantile(seconds, 0.5)},
          {"p10_seconds", Quantile(seconds, 0.1)},
          {"p90_seconds", Quantile(seconds, 0.9)},
          {"seconds", seconds}};
}

}  // namespace latentd::bench
