// The metrics that are read from the engine's statistics at each exposition, not counted on the
// way.
#pragma once

#include <prometheus/labels.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "engine/engine.h"

namespace latentd {

// Each carries the label model_name; cache_config are the further ones of vllm:cache_config_info.
std::vector<prometheus::MetricFamily> EngineFamilies(const EngineStats& stats,
                                                     const std::string& model_name,
                                                     const prometheus::Labels& cache_config);

}  // namespace latentd
