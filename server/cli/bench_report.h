// What `latentd bench` found, as a table for people and as JSON for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/bench/work.h"
#include "kernels/core/roofs.h"

namespace latentd {

struct BenchRow {
  BenchWork work;
  int threads = 1;              // 0: a device
  std::vector<double> seconds;  // of one run of the work, one figure a round; never empty
  WorkCost cost;
  int64_t expert_runs = 0;  // as CostOf took them
  // As `seconds`, of all threads: with one thread it does not grow with what else the machine does.
  std::vector<double> processor_seconds;
};

// The machine's roofs with one number of threads, or the device's, one figure a round.
struct BenchRoofs {
  int threads = 1;            // 0: a device
  std::vector<Roofs> rounds;  // never empty
};

struct BenchReport {
  std::string machine;  // processor or device, as the system names it
  std::string build;    // version, and CPU path or back end
  std::string model;
  bool synthetic_cache = false;
  bool least_experts = false;  // expert_runs are not what was seen, but the least that can be
  std::vector<BenchRoofs> roofs;
  std::vector<BenchRow> rows;
};

double Median(std::vector<double> values);
// The middle round of each roof.
Roofs MedianRoofs(const BenchRoofs& roofs);
// Seconds that the work takes at least on these roofs, and which of them says so.
struct Floor {
  double seconds = 0;
  bool memory_bound = false;
};
Floor FloorOf(const WorkCost& cost, const Roofs& roofs);

std::string BenchText(const BenchReport& report);
nlohmann::ordered_json BenchJson(const BenchReport& report);

}  // namespace latentd
