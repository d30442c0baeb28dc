// What a step costs beside the model's work: the empty executor, long steady decodes, draining
// readers. The machine may be shared, so processor time counts, not the clock on the wall; to
// compare two builds see compare.py.
//   latentd_step_bench [--batch 1,32,256] [--sequence-steps N] [--rounds N] [--vocab N]
//                      [--what scheduler,loop,threads] [--json]
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/step/steady.h"

namespace latentd {
namespace {

struct Row {
  std::string what;
  SteadyWork work;
  SteadyCost cost;  // of the median round
};

SteadyCost RunOne(const std::string& what, const SteadyWork& work) {
  if (what == "scheduler") return RunScheduler(work);
  if (what == "loop") return RunLoop(work);
  return RunThreads(work);
}

SteadyCost MedianCost(const std::string& what, const SteadyWork& work, int64_t rounds) {
  std::vector<SteadyCost> costs;
  for (int64_t i = 0; i < rounds; ++i) costs.push_back(RunOne(what, work));
  std::sort(costs.begin(), costs.end(),
            [](const SteadyCost& a, const SteadyCost& b) { return a.cpu_seconds < b.cpu_seconds; });
  return costs[costs.size() / 2];
}

void Print(const Row& row, bool json, bool first) {
  const auto steps = static_cast<double>(row.work.steps);
  const double ns = 1e9 * row.cost.cpu_seconds / steps;
  const double ns_per_sequence = ns / static_cast<double>(row.work.batch);
  const auto batch = static_cast<long long>(row.work.batch);
  const double per_second = steps / row.cost.cpu_seconds;
  const double wall_per_second = steps / row.cost.wall_seconds;
  if (json) {
    std::printf(
        "%s  {\"what\": \"%s\", \"batch\": %lld, \"steps\": %lld, \"steps_per_cpu_second\": %.0f, "
        "\"steps_per_wall_second\": %.0f, \"cpu_ns_per_sequence_step\": %.2f}",
        first ? "" : ",\n", row.what.c_str(), batch, static_cast<long long>(row.work.steps),
        per_second, wall_per_second, ns_per_sequence);
  } else {
    std::printf("| %s | %lld | %.0f | %.2f | %.1f | %.0f |\n", row.what.c_str(), batch, per_second,
                ns / 1e3, ns_per_sequence, wall_per_second);
  }
  std::fflush(stdout);
}

int Run(int argc, char** argv) {
  std::vector<int64_t> batches = {1, 32, 256};
  std::vector<std::string> whats = {"scheduler", "loop", "threads"};
  int64_t sequence_steps = 1 << 19, rounds = 5, vocab_size = 32;
  bool json = false;
  CLI::App app("What a step costs beside the model's work");
  app.add_option("--batch", batches, "sequences in a step")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096));
  app.add_option("--what", whats, "what is measured")
      ->delimiter(',')
      ->check(CLI::IsMember({"scheduler", "loop", "threads"}));
  app.add_option("--sequence-steps", sequence_steps, "steps times batch of a round, at most")
      ->check(CLI::PositiveNumber);
  app.add_option("--rounds", rounds, "of which the median counts")->check(CLI::PositiveNumber);
  app.add_option("--vocab", vocab_size, "values in a row of logits")->check(CLI::Range(2, 1 << 20));
  app.add_flag("--json", json, "a list of objects instead of a table");
  CLI11_PARSE(app, argc, argv);

  std::printf(
      json ? "[\n"
           : "| what | batch | steps per CPU second | CPU us per step | CPU ns per "
             "sequence and step | steps per second by the wall |\n|---|---|---|---|---|---|\n");
  constexpr int64_t kMostSteps = 1 << 16;
  bool first = true;
  for (const std::string& what : whats) {
    for (const int64_t batch : batches) {
      const int64_t steps = std::clamp<int64_t>(sequence_steps / batch, 1, kMostSteps);
      const SteadyWork work{batch, steps, vocab_size};
      Print({what, work, MedianCost(what, work, rounds)}, json, first);
      first = false;
    }
  }
  if (json) std::printf("\n]\n");
  return 0;
}

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) { return latentd::Run(argc, argv); }
