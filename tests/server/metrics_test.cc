#include "server/metrics.h"

#include <catch2/catch.hpp>
#include <set>
#include <sstream>
#include <string>

namespace latentd {
namespace {

EngineStats SomeStats() {
  EngineStats stats;
  stats.requests_running = 3;
  stats.requests_waiting = 4;
  stats.sequences_running = 5;
  stats.prefix_queries = 100;
  stats.prefix_hits = 64;
  stats.preemptions = 2;
  stats.tokens_capacity = 1000;
  stats.tokens_in_use = 250;
  stats.tokens_reusable = 300;
  stats.steps = 11;
  stats.cost_factor = 1.5;
  stats.cost = {.token_us = 6000, .position_us = 0.5, .base_us = 40'000};
  return stats;
}

std::unique_ptr<Metrics> Make() {
  return Metrics::Create("de\"mo", "block_size=64, num_gpu_blocks=12,bad-name=1,=2,alone",
                         SomeStats);
}

// The value printed for a series, or "" without one.
std::string Value(const std::string& exposition, const std::string& series) {
  std::istringstream lines(exposition);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(series + " ", 0) == 0) return line.substr(series.size() + 1);
  }
  return "";
}

const std::string kModel = "model_name=\"de\\\"mo\"";

TEST_CASE("Gauges and counters of the engine under vLLM's names") {
  const std::string text = Make()->Exposition();
  CAPTURE(text);
  CHECK(Value(text, "vllm:num_requests_running{" + kModel + "}") == "3");
  CHECK(Value(text, "vllm:num_requests_waiting{" + kModel + "}") == "4");
  CHECK(Value(text, "vllm:kv_cache_usage_perc{" + kModel + "}") == "0.25");
  CHECK(Value(text, "vllm:prefix_cache_queries_total{" + kModel + "}") == "100");
  CHECK(Value(text, "vllm:prefix_cache_hits_total{" + kModel + "}") == "64");
  CHECK(Value(text, "vllm:num_preemptions_total{" + kModel + "}") == "2");
  CHECK(Value(text, "vllm:cache_config_info{alone=\"\",block_size=\"64\"," + kModel +
                        ",num_gpu_blocks=\"12\"}") == "1");
  CHECK(Value(text, "latentd_cache_tokens{" + kModel + ",state=\"reusable\"}") == "300");
  CHECK(Value(text, "latentd_sequences{" + kModel + ",state=\"running\"}") == "5");
  CHECK(Value(text, "latentd_steps_total{" + kModel + "}") == "11");
  CHECK(Value(text, "latentd_cost_factor{" + kModel + "}") == "1.5");
  CHECK(Value(text, "latentd_cost_seconds{" + kModel + ",part=\"step\"}") == "0.04");
  CHECK(Value(text, "latentd_cost_seconds{" + kModel + ",part=\"token\"}") == "0.006");
  CHECK(Value(text, "latentd_cost_seconds{" + kModel + ",part=\"position\"}") == "5e-07");
}

TEST_CASE("An empty cache is not divided by") {
  const auto metrics = Metrics::Create("m", "", [] { return EngineStats(); });
  CHECK(Value(metrics->Exposition(), "vllm:kv_cache_usage_perc{model_name=\"m\"}") == "0");
}

TEST_CASE("A finished request moves its counters and histograms by one") {
  const auto metrics = Make();
  RequestRecord record;
  record.finished_reason = "length";
  record.prompt_tokens = 7;
  record.generation_tokens = 20;
  record.e2e_seconds = 3;
  record.queue_seconds = 0.4;
  metrics->RequestDone(record);
  metrics->Tokens(7, 0);
  metrics->Tokens(0, 20);
  metrics->TimeToFirstToken(0.05);
  metrics->InterTokenLatency(0.02);
  metrics->InterTokenLatency(0.2);
  const std::string text = metrics->Exposition();
  CHECK(Value(text, "vllm:request_success_total{finished_reason=\"length\"," + kModel + "}") ==
        "1");
  CHECK(Value(text, "vllm:request_success_total{finished_reason=\"stop\"," + kModel + "}") == "0");
  CHECK(Value(text, "vllm:prompt_tokens_total{" + kModel + "}") == "7");
  CHECK(Value(text, "vllm:generation_tokens_total{" + kModel + "}") == "20");
  CHECK(Value(text, "vllm:e2e_request_latency_seconds_count{" + kModel + "}") == "1");
  CHECK(Value(text, "vllm:e2e_request_latency_seconds_sum{" + kModel + "}") == "3");
  CHECK(Value(text, "vllm:request_queue_time_seconds_bucket{" + kModel + ",le=\"0.3\"}") == "0");
  CHECK(Value(text, "vllm:request_queue_time_seconds_bucket{" + kModel + ",le=\"0.5\"}") == "1");
  CHECK(Value(text, "vllm:time_to_first_token_seconds_count{" + kModel + "}") == "1");
  CHECK(Value(text, "vllm:inter_token_latency_seconds_count{" + kModel + "}") == "2");
  CHECK(Value(text, "vllm:request_prompt_tokens_sum{" + kModel + "}") == "7");
  CHECK(Value(text, "vllm:request_generation_tokens_sum{" + kModel + "}") == "20");
}

TEST_CASE("A refusal moves its reason and nothing else") {
  const auto metrics = Make();
  const std::string before = metrics->Exposition();
  metrics->Refused(Refusal::kFull);
  const std::string after = metrics->Exposition();
  const std::string series = "latentd_requests_refused_total{" + kModel + ",reason=\"full\"} ";
  std::string expected = before;
  const size_t at = expected.find(series + "0");
  REQUIRE(at != std::string::npos);
  expected[at + series.size()] = '1';
  CHECK(after == expected);
}

TEST_CASE("Steps are counted by what they computed") {
  const auto metrics = Make();
  StepReport step;
  step.seconds = 0.02;
  step.decode_tokens = 4;
  metrics->Step(step);
  step.prefill_tokens = 100;
  metrics->Step(step);
  step.decode_tokens = 0;
  metrics->Step(step);
  step.prefill_tokens = 0;
  metrics->Step(step);  // nothing ran
  const std::string text = metrics->Exposition();
  for (const char* phase : {"prefill", "decode", "mixed"}) {
    CHECK(Value(text, "latentd_step_seconds_count{" + kModel + ",phase=\"" + phase + "\"}") == "1");
  }
  CHECK(Value(text, "vllm:iteration_tokens_total_count{" + kModel + "}") == "3");
  CHECK(Value(text, "vllm:iteration_tokens_total_sum{" + kModel + "}") == "208");
}

TEST_CASE("The exposition is well formed: one HELP and TYPE a family, model_name on every series") {
  std::istringstream lines(Make()->Exposition());
  std::set<std::string> families;
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    if (line.rfind("# TYPE ", 0) == 0) {
      CHECK(families.insert(line.substr(7, line.find(' ', 7) - 7)).second);
    } else if (line.rfind("# HELP ", 0) != 0) {
      CHECK(line.find(kModel) != std::string::npos);
    }
  }
  CHECK(families.size() == 26);
}

TEST_CASE("What a refusing status counts as") {
  CHECK(RefusalOf(absl::InvalidArgumentError("")) == Refusal::kInvalid);
  CHECK(RefusalOf(absl::NotFoundError("")) == Refusal::kNotFound);
  CHECK(RefusalOf(absl::ResourceExhaustedError("")) == Refusal::kFull);
  CHECK(RefusalOf(absl::UnavailableError("")) == Refusal::kDraining);
  CHECK(RefusalOf(absl::DeadlineExceededError("")) == Refusal::kDeadline);
  CHECK(RefusalOf(absl::InternalError("")) == Refusal::kOther);
}

}  // namespace
}  // namespace latentd
