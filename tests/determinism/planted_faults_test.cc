// What the matrix is worth: an executor with a fault in it, one unit in the last place of one
// logit, is caught on the axis that the fault depends on, and the place is named.
#include <bit>
#include <catch2/catch.hpp>

#include "tests/determinism/workload.h"

namespace latentd {
namespace {

// Moves logit 0 to the next float in the rows that `strikes` picks.
class FaultyExecutor : public Executor {
 public:
  using Strikes =
      std::function<bool(const StepPlan& plan, const PlanEntry& entry, int64_t position)>;
  FaultyExecutor(Executor* inner, Strikes strikes) : inner_(inner), strikes_(std::move(strikes)) {}

  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override {
    inner_->Run(
        plan,
        [&](size_t entry, int64_t position, std::span<float> logits) {
          if (strikes_(plan, plan.entries[entry], position)) {
            logits[0] = std::bit_cast<float>(std::bit_cast<uint32_t>(logits[0]) + 1);
          }
          sink(entry, position, logits);
        },
        outcomes);
  }
  int64_t vocab_size() const override { return inner_->vocab_size(); }

 private:
  Executor* const inner_;
  const Strikes strikes_;
};

struct Planted {
  const char* what;
  AxisId axis;
  int64_t value;  // of the axis, at which it shows
  FaultyExecutor::Strikes strikes;
};

std::vector<Planted> Faults() {
  using Plan = StepPlan;
  using Entry = PlanEntry;
  return {
      {"bits depend on how many sequences a step has", AxisId::kBatch, 32,
       [](const Plan& plan, const Entry&, int64_t) { return plan.entries.size() > 31; }},
      {"bits depend on where a chunk begins", AxisId::kChunk, 65,
       [](const Plan&, const Entry& entry, int64_t) {
         return entry.num_tokens() > 1 && entry.first_position % 64 != 0;
       }},
      {"a prompt token computed alone has other bits", AxisId::kChunk, 1,
       [](const Plan&, const Entry& entry, int64_t) {
         return entry.num_tokens() == 1 && entry.first_logits_position < entry.first_position;
       }},
      {"bits depend on what the scheduler leaves for the next step", AxisId::kBudget, 97,
       [](const Plan&, const Entry& entry, int64_t position) {
         return entry.first_position > 90 && position == 200;
       }},
      {"a recomputed sequence comes back different", AxisId::kPressure, kPreempting,
       [](const Plan&, const Entry& entry, int64_t) {  // prompts are shorter, or longer
         return entry.num_tokens() > 1 && entry.first_logits_position > 45 &&
                entry.first_logits_position < 130;
       }},
      {"a reused prefix gives other bits", AxisId::kReuse, 1,
       [](const Plan&, const Entry& entry, int64_t) { return entry.first_position == 128; }},
  };
}

}  // namespace

TEST_CASE("a fault of one bit is caught on its axis and its place is named") {
  Matrix matrix(MatrixModel());
  for (const Planted& planted : Faults()) {
    INFO(planted.what);
    const WrapExecutor wrap = [&](Executor* inner) {
      return std::make_unique<FaultyExecutor>(inner, planted.strikes);
    };
    Setting setting = UsualSetting();
    CHECK(matrix.Check(setting, wrap).value_or("") == "");  // it does not show here
    setting.values[static_cast<size_t>(planted.axis)] = planted.value;
    const std::string difference = matrix.Check(setting, wrap).value_or("");
    CHECK(difference.find("request ") == 0);
    CHECK(difference.find("position ") != std::string::npos);
    CHECK(matrix.Check(setting).value_or("") == "");
  }
}

}  // namespace latentd
