#include "server/engine_families.h"

#include <utility>

namespace latentd {
namespace {

using prometheus::ClientMetric;
using prometheus::Labels;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Collects families, all with the label model_name.
class Snapshot {
 public:
  explicit Snapshot(std::string model_name) : model_name_(std::move(model_name)) {}

  void Gauge(const char* name, const char* help, double value, Labels labels = {}) {
    ClientMetric& metric = Add(name, help, MetricType::Gauge, std::move(labels));
    metric.gauge.value = value;
  }
  void Counter(const char* name, const char* help, double value) {
    Add(name, help, MetricType::Counter, {}).counter.value = value;
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  ClientMetric& Add(const char* name, const char* help, MetricType type, Labels labels) {
    if (families_.empty() || families_.back().name != name) {
      families_.push_back({name, help, type, {}});
    }
    labels["model_name"] = model_name_;
    ClientMetric& metric = families_.back().metric.emplace_back();
    for (const auto& [key, value] : labels) metric.label.push_back({key, value});
    return metric;
  }

  std::string model_name_;
  std::vector<MetricFamily> families_;
};

}  // namespace

std::vector<MetricFamily> EngineFamilies(const EngineStats& stats, const std::string& model_name,
                                         const prometheus::Labels& cache_config) {
  const auto number = [](auto value) { return static_cast<double>(value); };
  Snapshot all(model_name);
  all.Gauge("vllm:num_requests_running", "Requests being computed.",
            number(stats.requests_running));
  all.Gauge("vllm:num_requests_waiting", "Requests waiting to be computed.",
            number(stats.requests_waiting));
  all.Gauge(
      "vllm:kv_cache_usage_perc",
      "Share of the latent cache held by requests, 0 to 1; reusable prefixes left out.",
      stats.tokens_capacity == 0 ? 0 : number(stats.tokens_in_use) / number(stats.tokens_capacity));
  all.Counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
              number(stats.prefix_queries));
  all.Counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
              number(stats.prefix_hits));
  all.Counter("vllm:num_preemptions_total", "Sequences preempted and recomputed later.",
              number(stats.preemptions));
  all.Gauge("vllm:cache_config_info", "The latent cache's settings.", 1, cache_config);
  all.Gauge("latentd_sequences", "Sequences (choices of requests), by state.",
            number(stats.sequences_running), {{"state", "running"}});
  all.Gauge("latentd_sequences", "", number(stats.sequences_waiting), {{"state", "waiting"}});
  all.Gauge("latentd_cache_tokens", "Tokens of the latent cache at full width, by state.",
            number(stats.tokens_capacity), {{"state", "capacity"}});
  all.Gauge("latentd_cache_tokens", "", number(stats.tokens_in_use), {{"state", "in_use"}});
  all.Gauge("latentd_cache_tokens", "", number(stats.tokens_reusable), {{"state", "reusable"}});
  for (const ClassStats& blocks : stats.blocks) {
    const std::string width = std::to_string(blocks.row_latent);
    all.Gauge("latentd_cache_blocks",
              "Blocks of 64 tokens in the latent cache, by lanes a row and state.",
              number(blocks.in_use), {{"state", "in_use"}, {"width", width}});
    all.Gauge("latentd_cache_blocks", "", number(blocks.reusable),
              {{"state", "reusable"}, {"width", width}});
  }
  all.Gauge("latentd_cache_pages", "Pages of the latent cache, by state.",
            number(stats.pages_total), {{"state", "total"}});
  all.Gauge("latentd_cache_pages", "", number(stats.pages_free), {{"state", "free"}});
  all.Counter("latentd_steps_total", "Engine steps.", number(stats.steps));
  all.Gauge(
      "latentd_cost_factor",
      "What prompt tokens are taken to cost now, as a multiple of what was measured at start.",
      stats.cost_factor);
  const char* parts =
      "Estimated time of a step beside its tokens, of a token, and more for each position before "
      "it.";
  all.Gauge("latentd_cost_seconds", parts, stats.cost.base_us * 1e-6, {{"part", "step"}});
  all.Gauge("latentd_cost_seconds", "", stats.cost.token_us * 1e-6, {{"part", "token"}});
  all.Gauge("latentd_cost_seconds", "", stats.cost.position_us * 1e-6, {{"part", "position"}});
  all.Counter("latentd_layers_total", "Layers computed: moves as long as work gets on.",
              number(stats.layers_done));
  return all.Take();
}

}  // namespace latentd
