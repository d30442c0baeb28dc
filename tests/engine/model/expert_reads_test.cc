// What a step reads of a mixture of experts: the pages of the experts that some token chose, and
// each of their matrices once. Page protection says the one; the other is counted where the MLP
// calls Linear(), which the linker sends here first (CMakeLists.txt, --wrap).
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "engine/model/loader.h"
#include "engine/model/weight_copies.h"
#include "kernels/linear.h"
#include "tests/engine/model/model_folder.h"
#include "tests/engine/model/model_runner.h"
#include "tests/engine/model/random_model.h"

namespace {

std::map<const void*, int> calls_by_weight;

}  // namespace

// The linker's names for latentd::Linear(const Context&, const LinearArgs&).
extern "C" void __real__ZN7latentd6LinearERKNS_7ContextERKNS_10LinearArgsE(
    const latentd::Context& context, const latentd::LinearArgs& args);
extern "C" void __wrap__ZN7latentd6LinearERKNS_7ContextERKNS_10LinearArgsE(
    const latentd::Context& context, const latentd::LinearArgs& args) {
  ++calls_by_weight[args.w.data];
  __real__ZN7latentd6LinearERKNS_7ContextERKNS_10LinearArgsE(context, args);
}

namespace latentd {
namespace {

constexpr size_t kPage = 4096;

// Layer 1 of a folder on disk: four experts of three matrices of eight pages each, of which every
// token chooses `chosen`: the router's bias leaves no doubt.
std::unique_ptr<const Model> LoadExperts(const TempFolder& folder, const std::set<size_t>& chosen) {
  constexpr int64_t kUnits = 256;
  TestModel model = MakeDeepseekV3();
  model.config["n_group"] = 1;
  model.config["n_shared_experts"] = 1;
  model.config["moe_intermediate_size"] = kUnits;
  for (TestTensor& tensor : model.tensors) {
    if (tensor.name.find("experts.") == std::string::npos) continue;
    tensor.shape = tensor.name.find("down_proj") == std::string::npos
                       ? std::vector<int64_t>{kUnits, 32}
                       : std::vector<int64_t>{32, kUnits};
    tensor.values.resize(kUnits * 32, 0.25f);
  }
  std::vector<float>& bias = model.Find("model.layers.1.mlp.gate.e_score_correction_bias").values;
  for (size_t e = 0; e < bias.size(); ++e) bias[e] = chosen.contains(e) ? 100 : 0;
  model.Write(folder);
  auto loaded = LoadModel(folder.path());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

// Every whole page of a matrix becomes unreadable.
void Forbid(const WeightView& w) {
  const auto begin = (reinterpret_cast<uintptr_t>(w.data) + kPage - 1) / kPage * kPage;
  const auto end = (reinterpret_cast<uintptr_t>(w.data) +
                    static_cast<size_t>(w.rows * w.cols) * SizeOf(w.dtype)) /
                   kPage * kPage;
  if (end < begin + 4 * kPage || mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_NONE))
    _exit(2);
}

// Whether a prompt of 20 tokens and a step of two tokens get through while an expert's pages cannot
// be read. In a process of its own, which a forbidden read ends.
bool RunsWithout(const Model& model, size_t expert) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    const MlpWeights& w = model.weights.layers[1].experts[expert];
    Forbid(w.gate);
    Forbid(w.up);
    Forbid(w.down);
    const RandomModel borrowed{model.config, model.weights, {}};
    Runner runner(borrowed, 1);
    auto a = runner.NewSequence(Tokens(21, 1)), b = runner.NewSequence(Tokens(1, 2));
    for (uint32_t& id : a.ids) id %= 40;
    for (uint32_t& id : b.ids) id %= 40;
    runner.Step({{&a, 20}});
    runner.Step({{&a, 1}, {&b, 1}});
    _exit(a.logits.size() == 21 && b.logits.size() == 1 ? 0 : 2);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGSEGV);
  return false;
}

}  // namespace

TEST_CASE("of a mapped checkpoint's experts, only the chosen ones' pages are read", "[moe]") {
  const std::set<size_t> chosen = GENERATE(std::set<size_t>{1, 3}, std::set<size_t>{0, 1});
  const TempFolder folder;
  const auto model = LoadExperts(folder, chosen);
  for (size_t expert = 0; expert < 4; ++expert) {
    INFO("expert " << expert);
    CHECK(RunsWithout(*model, expert) == !chosen.contains(expert));
  }
}

namespace {

// (layer, expert) of the matrices that were multiplied with, each with how often; gate, up and down
// of an expert must agree.
std::map<std::pair<size_t, size_t>, int> ExpertCalls(const RandomModel& model) {
  std::map<std::pair<size_t, size_t>, int> calls;
  for (size_t layer = 0; layer < model.weights.layers.size(); ++layer) {
    const auto& experts = model.weights.layers[layer].experts;
    for (size_t e = 0; e < experts.size(); ++e) {
      const int count = calls_by_weight[experts[e].gate.data];
      CHECK(calls_by_weight[experts[e].up.data] == count);
      CHECK(calls_by_weight[experts[e].down.data] == count);
      if (count > 0) calls[{layer, e}] = count;
    }
  }
  return calls;
}

RandomModel ModelOfExperts() {
  ModelConfig config = Geometry();
  config.num_layers = 3;
  config.moe = MoeConfig{};
  config.moe->router.num_experts = 12;
  config.moe->router.top_k = 2;
  config.moe->expert_intermediate_size = 24;
  config.moe->shared_intermediate_size = 24;
  config.moe->num_dense_layers = 1;
  return MakeRandomModel(config, 5, DType::kBF16);
}

}  // namespace

TEST_CASE("a step goes through each expert once, however many of its tokens chose it", "[moe]") {
  RandomModel model = ModelOfExperts();
  const WeightCopies format =
      GENERATE(WeightCopies::kNone, WeightCopies::kInt8, WeightCopies::kInt4);
  std::vector<std::string> notes;
  if (format != WeightCopies::kNone) {
    const CopyOptions options = {.format = format, .available_bytes = 1 << 30, .progress = {}};
    REQUIRE(MakeCopies(options, &model.weights, &notes).ok());
  }
  const std::vector<uint32_t> ids = Tokens(6, 3);
  std::map<std::pair<size_t, size_t>, int> one_by_one;
  {
    Runner runner(model, 1);
    auto sequence = runner.NewSequence(ids);
    for (size_t i = 0; i < ids.size(); ++i) {
      calls_by_weight.clear();
      runner.Step({{&sequence, 1}});
      const auto calls = ExpertCalls(model);
      CHECK(calls.size() == 2 * 2);  // layers, choices
      for (const auto& [expert, count] : calls) {
        CHECK(count == 1);
        one_by_one[expert] += count;
      }
    }
    CHECK(runner.executor->expert_runs() == 2 * 2 * 6);
  }
  const bool some_chosen_twice = one_by_one.size() < 2 * 2 * 6;
  const bool some_not_chosen = one_by_one.size() < 2 * 12;
  REQUIRE((some_chosen_twice && some_not_chosen));

  Runner runner(model, 2);
  auto sequence = runner.NewSequence(ids);
  calls_by_weight.clear();
  runner.Step({{&sequence, 6}});
  std::map<std::pair<size_t, size_t>, int> once = one_by_one;
  for (auto& [expert, count] : once) count = 1;
  CHECK(ExpertCalls(model) == once);
  CHECK(runner.executor->expert_runs() == static_cast<int64_t>(once.size()));
}

}  // namespace latentd
