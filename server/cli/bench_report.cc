#include "server/cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "kernels/core/check.h"

namespace latentd {
namespace {

using Json = nlohmann::ordered_json;

const Roofs RoofsFor(const BenchReport& report, int threads) {
  for (const BenchRoofs& roofs : report.roofs) {
    if (roofs.threads == threads) return MedianRoofs(roofs);
  }
  LATENTD_CHECK(false);
  return {};
}

std::string WorkName(const BenchWork& work) {
  return work.kind == BenchWork::Kind::kPrefill ? fmt::format("prefill {}", work.tokens)
                                                : fmt::format("decode x{}", work.batch);
}

// "4 threads".
std::string OnWhat(int threads) {
  return threads == 0 ? "the device" : fmt::format("{} threads", threads);
}

struct Figures {
  double median = 0, slowest = 0, fastest = 0;  // tokens/s
  double step_seconds = 0;                      // of the whole work
  Floor floor;
};

Figures FiguresOf(const BenchReport& report, const BenchRow& row) {
  const auto tokens = static_cast<double>(row.work.total_tokens());
  const double seconds = Median(row.seconds);
  const auto [least, most] = std::minmax_element(row.seconds.begin(), row.seconds.end());
  return {tokens / seconds, tokens / *most, tokens / *least, seconds,
          FloorOf(row.cost, RoofsFor(report, row.threads))};
}

// Null: a device.
Json ThreadsJson(int threads) { return threads == 0 ? Json() : Json(threads); }

}  // namespace

double Median(std::vector<double> values) {
  LATENTD_CHECK(!values.empty());
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Roofs MedianRoofs(const BenchRoofs& roofs) {
  std::vector<double> read, flops;
  for (const Roofs& round : roofs.rounds) {
    read.push_back(round.read_bytes_per_second);
    flops.push_back(round.flops_per_second);
  }
  return {Median(std::move(read)), Median(std::move(flops))};
}

Floor FloorOf(const WorkCost& cost, const Roofs& roofs) {
  const double memory = cost.bytes / roofs.read_bytes_per_second;
  const double arithmetic = cost.flops / roofs.flops_per_second;
  return {std::max(memory, arithmetic), memory > arithmetic};
}

std::string BenchText(const BenchReport& report) {
  std::string text =
      fmt::format("{}\n{}, model {}{}\n", report.machine, report.build, report.model,
                  report.synthetic_cache ? ", cache filled with random latents" : "");
  for (const BenchRoofs& roofs : report.roofs) {
    const Roofs median = MedianRoofs(roofs);
    text += fmt::format("roofs, {}: reads {:.1f} GB/s, multiply-adds {:.3f} TFLOP/s\n",
                        OnWhat(roofs.threads), median.read_bytes_per_second * 1e-9,
                        median.flops_per_second * 1e-12);
  }
  if (report.least_experts) {
    text += "experts: the least that a step can read, since the device counts none\n";
  }
  text += fmt::format("{:<14} {:>11} {:>8} {:>7} {:>10} {:>23} {:>10} {:>11}\n", "work", "width",
                      "depth", "threads", "tokens/s", "slowest ... fastest", "ms", "of its roof");
  for (const BenchRow& row : report.rows) {
    const Figures f = FiguresOf(report, row);
    text += fmt::format(
        "{:<14} {:>11} {:>8} {:>7} {:>10.2f} {:>10.2f} ... {:>8.2f} {:>10.3f} "
        "{:>4.0f} % {}\n",
        WorkName(row.work), fmt::format("{},{}", row.work.width.q, row.work.width.kv),
        row.work.depth, row.threads == 0 ? "-" : std::to_string(row.threads), f.median, f.slowest,
        f.fastest, f.step_seconds * 1e3, 100 * f.floor.seconds / f.step_seconds,
        f.floor.memory_bound ? "memory" : "math");
  }
  return text;
}

Json BenchJson(const BenchReport& report) {
  Json json = {{"machine", report.machine},
               {"build", report.build},
               {"model", report.model},
               {"synthetic_cache", report.synthetic_cache},
               {"least_experts", report.least_experts}};
  for (const BenchRoofs& roofs : report.roofs) {
    Json rounds = Json::array();
    for (const Roofs& round : roofs.rounds) {
      rounds.push_back({{"read_bytes_per_second", round.read_bytes_per_second},
                        {"flops_per_second", round.flops_per_second}});
    }
    json["roofs"].push_back(
        {{"threads", ThreadsJson(roofs.threads)}, {"rounds", std::move(rounds)}});
  }
  for (const BenchRow& row : report.rows) {
    const Figures f = FiguresOf(report, row);
    const bool prefill = row.work.kind == BenchWork::Kind::kPrefill;
    json["rows"].push_back({{"kind", prefill ? "prefill" : "decode"},
                            {"width", {{"q", row.work.width.q}, {"kv", row.work.width.kv}}},
                            {"depth", row.work.depth},
                            {"batch", row.work.batch},
                            {"tokens", row.work.tokens},
                            {"threads", ThreadsJson(row.threads)},
                            {"tokens_per_second", f.median},
                            {"seconds", row.seconds},
                            {"processor_seconds", row.processor_seconds},
                            {"bytes", row.cost.bytes},
                            {"flops", row.cost.flops},
                            {"expert_runs", row.expert_runs},
                            {"floor_seconds", f.floor.seconds},
                            {"bound", f.floor.memory_bound ? "memory" : "arithmetic"},
                            {"share_of_roof", f.floor.seconds / f.step_seconds}});
  }
  return json;
}

}  // namespace latentd
