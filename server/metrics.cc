#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "server/engine_families.h"

namespace latentd {
namespace {

using prometheus::Counter;
using prometheus::Histogram;
using prometheus::Labels;
using prometheus::MetricFamily;
using Buckets = Histogram::BucketBoundaries;

// The boundaries that dashboards made for vLLM expect; ours for steps.
const Buckets kFirstTokenSeconds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                    0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                    20,    40,    80,   160,  640,  2560};
const Buckets kInterTokenSeconds = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                    0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const Buckets kRequestSeconds = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                 30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const Buckets kStepTokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const Buckets kStepSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                              0.5,   1,      2.5,   5,    10,    25,   50,  100};
const Buckets kRequestTokens = {1,    2,    5,    10,    20,    50,    100,    200,    500,
                                1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000};

constexpr std::array<std::pair<Refusal, const char*>, 7> kRefusals = {{
    {Refusal::kInvalid, "invalid"},
    {Refusal::kNotFound, "not_found"},
    {Refusal::kFull, "full"},
    {Refusal::kDraining, "draining"},
    {Refusal::kTooLarge, "too_large"},
    {Refusal::kDeadline, "deadline"},
    {Refusal::kOther, "other"},
}};
constexpr std::array<const char*, 4> kFinishedReasons = {"stop", "length", "abort", "error"};
constexpr std::array<const char*, 3> kPhases = {"prefill", "decode", "mixed"};

bool IsLabelName(std::string_view name) {
  if (name.empty() || absl::ascii_isdigit(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

class PrometheusMetrics final : public Metrics {
 public:
  PrometheusMetrics(std::string model_name, std::string cache_config,
                    std::function<EngineStats()> stats)
      : model_name_(std::move(model_name)), stats_(std::move(stats)) {
    for (const absl::string_view item : absl::StrSplit(cache_config, ',', absl::SkipWhitespace())) {
      const std::pair<std::string, std::string> pair =
          absl::StrSplit(absl::StripAsciiWhitespace(item), absl::MaxSplits('=', 1));
      if (IsLabelName(pair.first)) cache_config_[pair.first] = pair.second;
    }
    for (const char* reason : kFinishedReasons) {
      finished_[reason] = &AddCounter("vllm:request_success_total", "Requests that ended.",
                                      {{"finished_reason", reason}});
    }
    for (const auto& [reason, name] : kRefusals) {
      refused_[reason] = &AddCounter("latentd_requests_refused_total",
                                     "Requests turned away, by reason.", {{"reason", name}});
    }
    for (const char* phase : kPhases) {
      step_seconds_[phase] =
          &AddHistogram("latentd_step_seconds", "Duration of engine steps, by what they computed.",
                        kStepSeconds, {{"phase", phase}});
    }
  }

  void RequestDone(const RequestRecord& record) override {
    const auto it = finished_.find(std::string(record.finished_reason));
    (it == finished_.end() ? finished_["error"] : it->second)->Increment();
    e2e_.Observe(record.e2e_seconds);
    queue_.Observe(record.queue_seconds);
    request_prompt_.Observe(static_cast<double>(record.prompt_tokens));
    request_generation_.Observe(static_cast<double>(record.generation_tokens));
  }

  void Refused(Refusal reason) override { refused_.at(reason)->Increment(); }

  void Tokens(uint64_t prompt, uint64_t generated) override {
    if (prompt > 0) prompt_tokens_.Increment(static_cast<double>(prompt));
    if (generated > 0) generation_tokens_.Increment(static_cast<double>(generated));
  }

  void TimeToFirstToken(double seconds) override { first_token_.Observe(seconds); }
  void InterTokenLatency(double seconds) override { inter_token_.Observe(seconds); }

  void Step(const StepReport& report) override {
    const int64_t tokens = report.decode_tokens + report.prefill_tokens;
    if (tokens == 0) return;
    iteration_tokens_.Observe(static_cast<double>(tokens));
    const char* phase = report.prefill_tokens == 0  ? "decode"
                        : report.decode_tokens == 0 ? "prefill"
                                                    : "mixed";
    step_seconds_.at(phase)->Observe(report.seconds);
  }

  std::string Exposition() override {
    std::vector<MetricFamily> families = EngineFamilies(stats_(), model_name_, cache_config_);
    for (MetricFamily& family : registry_.Collect()) families.push_back(std::move(family));
    std::sort(families.begin(), families.end(),
              [](const MetricFamily& a, const MetricFamily& b) { return a.name < b.name; });
    return prometheus::TextSerializer().Serialize(families);
  }

 private:
  Counter& AddCounter(const char* name, const char* help, Labels labels = {}) {
    labels["model_name"] = model_name_;
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry_).Add(labels);
  }
  Histogram& AddHistogram(const char* name, const char* help, const Buckets& buckets,
                          Labels labels = {}) {
    labels["model_name"] = model_name_;
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry_).Add(labels,
                                                                                      buckets);
  }

  const std::string model_name_;
  const std::function<EngineStats()> stats_;
  Labels cache_config_;
  prometheus::Registry registry_;
  std::map<std::string, Counter*> finished_;
  std::map<Refusal, Counter*> refused_;
  std::map<std::string, Histogram*, std::less<>> step_seconds_;
  Counter& prompt_tokens_ = AddCounter("vllm:prompt_tokens_total", "Prompt tokens processed.");
  Counter& generation_tokens_ =
      AddCounter("vllm:generation_tokens_total", "Tokens generated and handed on.");
  Histogram& iteration_tokens_ =
      AddHistogram("vllm:iteration_tokens_total", "Tokens per engine step.", kStepTokens);
  Histogram& first_token_ =
      AddHistogram("vllm:time_to_first_token_seconds",
                   "From receipt of a request to its first token.", kFirstTokenSeconds);
  Histogram& inter_token_ =
      AddHistogram("vllm:inter_token_latency_seconds", "Between consecutive tokens of one choice.",
                   kInterTokenSeconds);
  Histogram& e2e_ = AddHistogram("vllm:e2e_request_latency_seconds",
                                 "From receipt of a request to its end.", kRequestSeconds);
  Histogram& queue_ =
      AddHistogram("vllm:request_queue_time_seconds",
                   "From submission of a request to its first step.", kRequestSeconds);
  Histogram& request_prompt_ =
      AddHistogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", kRequestTokens);
  Histogram& request_generation_ = AddHistogram("vllm:request_generation_tokens",
                                                "Tokens generated for a request.", kRequestTokens);
};

}  // namespace

std::unique_ptr<Metrics> Metrics::Create(std::string model_name, std::string cache_config,
                                         std::function<EngineStats()> stats) {
  return std::make_unique<PrometheusMetrics>(std::move(model_name), std::move(cache_config),
                                             std::move(stats));
}

}  // namespace latentd
