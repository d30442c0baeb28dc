// The mixture of experts, emulated or on a device: the bits of Linear and SiluMul on all rows, and
// of the CPU's where its products have them, added up in the CPU's order.
#include "kernels/cuda/experts.h"

#include <catch2/catch.hpp>
#include <limits>
#include <memory>

#include "kernels/cuda/operators.h"
#include "kernels/linear.h"
#include "tests/kernels/cuda/expert_choices.h"
#include "tests/kernels/cuda/test_weights.h"

namespace latentd::cuda {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Experts' matrices, of which those that no token chose are not there at all.
struct Mixture {
  Mixture(std::mt19937& rng, const MixtureShape& shape, int64_t dim, int64_t units,
          const std::vector<DType>& dtypes)
      : dim(dim),
        units(units),
        choices(rng, shape),
        x(RandomFloats(rng, shape.tokens * XLd())),
        weights(RandomFloats(rng, choices.NumChoices())),
        dtype(dtypes[0]) {
    for (int64_t i = 0; i < shape.tokens * XLd(); ++i) {
      if (i % XLd() >= dim) x[static_cast<size_t>(i)] = kPoison;
    }
    const Cut cut = {dtype == DType::kE4M3 ? 24 : 1, 32, DType::kBF16, 5};
    for (int matrix = 0; matrix < 3; ++matrix) {
      const int64_t rows = matrix == 2 ? dim : units, cols = matrix == 2 ? units : dim;
      for (int64_t e = 0; e < shape.num_weighted; ++e) {
        const DType of_expert = dtypes[static_cast<size_t>(matrix + e) % dtypes.size()];
        matrices[matrix].push_back(
            IsChosen(e) ? std::make_unique<TestWeights>(rng, of_expert, rows, cols, cut) : nullptr);
      }
    }
  }
  int64_t XLd() const { return dim + 3; }
  bool IsChosen(int64_t e) const {
    for (int64_t i = 0; i < choices.NumChoices(); ++i) {
      if (choices.Id(i) == e) return true;
    }
    return false;
  }

  // One matrix of one expert on all rows: on the CPU where it has the same bits.
  std::vector<float> Multiply(const TestWeights& w, const std::vector<float>& from,
                              int64_t from_ld) const {
    const int64_t tokens = choices.shape.tokens, n = w.OnHost().rows, k = w.OnHost().cols;
    std::vector<float> y(static_cast<size_t>(tokens * n));
    if (w.OnHost().dtype == DType::kBF16 || IsBlocked(w.OnHost().dtype)) {
      latentd::Linear({}, {.x = {from.data(), tokens, k, from_ld},
                           .w = w.OnHost(),
                           .y = latentd::View(y, tokens, n)});
      return y;
    }
    const Array device_x(from), device_y(y);
    Linear(
        nullptr,
        {.x = device_x.View(tokens, k, from_ld), .w = w.OnDevice(), .y = device_y.View(tokens, n)});
    return device_y.Read();
  }
  // An expert's results on all rows.
  std::vector<float> ResultsOf(int64_t e) const {
    const int64_t tokens = choices.shape.tokens;
    const auto place = static_cast<size_t>(e);
    const Array gate(Multiply(*matrices[0][place], x, XLd()));
    const Array up(Multiply(*matrices[1][place], x, XLd()));
    SiluMul(nullptr, gate.View(tokens, units), up.View(tokens, units));
    return Multiply(*matrices[2][place], gate.Read(), units);
  }
  // As the CPU's MixtureOfExperts sums.
  std::vector<float> Expected() const {
    const MixtureShape& shape = choices.shape;
    std::vector<float> out(static_cast<size_t>(shape.tokens * dim));
    for (int64_t e = 0; e < shape.num_experts; ++e) {
      if (!IsChosen(e)) continue;
      const bool is_identity = e >= shape.num_weighted;
      const std::vector<float> results = is_identity ? x : ResultsOf(e);
      for (int64_t i = 0; i < choices.NumChoices(); ++i) {
        if (choices.Id(i) != e) continue;
        const int64_t t = i / shape.top_k;
        const float* result = results.data() + t * (is_identity ? XLd() : dim);
        for (int64_t j = 0; j < dim; ++j) {
          out[static_cast<size_t>(t * dim + j)] += weights[static_cast<size_t>(i)] * result[j];
        }
      }
    }
    return out;
  }

  std::vector<float> OnDevice() const { return OnDevice(choices, x, weights); }
  // Of one token.
  std::vector<float> OnDevice(int64_t t) const {
    Choices alone = choices;
    alone.shape.tokens = 1;
    alone.ids.assign(choices.ids.begin() + t * choices.Ld(),
                     choices.ids.begin() + (t + 1) * choices.Ld());
    const int64_t k = choices.shape.top_k;
    return OnDevice(alone, {x.begin() + t * XLd(), x.begin() + (t + 1) * XLd()},
                    {weights.begin() + t * k, weights.begin() + (t + 1) * k});
  }
  std::vector<float> OnDevice(const Choices& of, const std::vector<float>& from,
                              const std::vector<float>& factors) const;

  // A table of views.
  Array<WeightView> Table(int matrix) const {
    std::vector<WeightView> views;
    for (const auto& w : matrices[matrix]) views.push_back(w ? w->OnDevice() : WeightView());
    return Array(views);
  }

  int64_t dim, units;
  Choices choices;
  std::vector<float> x, weights;
  DType dtype;
  std::vector<std::unique_ptr<TestWeights>> matrices[3];  // gate, up, down
};

std::vector<float> Mixture::OnDevice(const Choices& of, const std::vector<float>& from,
                                     const std::vector<float>& factors) const {
  const int64_t tokens = of.shape.tokens, k = of.shape.top_k, rows = of.NumChoices();
  const Groups groups(of);
  const Array device_x(from), device_weights(factors);
  const auto nothing = [](int64_t count) {
    return std::vector<float>(static_cast<size_t>(count), kPoison);
  };
  const Array gate(nothing(rows * units)), up(nothing(rows * (units + 1)));
  const Array results(nothing(rows * (dim + 2))), out(nothing(tokens * dim));
  const Array<WeightView> gates = Table(0), ups = Table(1), downs = Table(2);
  const MatrixView<const float> x_view = device_x.View(tokens, dim, XLd());
  ExpertMlps(nullptr, {.x = x_view,
                       .top_k = k,
                       .num_weighted = of.shape.num_weighted,
                       .gate = {gates.data(), units, dim, dtype},
                       .up = {ups.data(), units, dim, dtype},
                       .down = {downs.data(), dim, units, dtype},
                       .groups = groups.View(),
                       .hidden_gate = gate.View(rows, units),
                       .hidden_up = up.View(rows, units, units + 1),
                       .results = results.View(rows, dim, dim + 2)});
  SumExperts(nullptr, {.x = x_view,
                       .experts = groups.ids.View(tokens, k, of.Ld()),
                       .weights = device_weights.View(tokens, k),
                       .num_weighted = of.shape.num_weighted,
                       .places = groups.places.data(),
                       .results = results.View(rows, dim, dim + 2),
                       .out = out.View(tokens, dim)});
  return out.Read();
}

// Alone, and all that are not in blocks in one table.
const std::vector<DType> kDtypes[] = {
    {DType::kBF16},
    {DType::kInt8},
    {DType::kInt4Blocks},
    {DType::kE4M3},
    {DType::kBF16, DType::kInt4, DType::kF32, DType::kE4M3, DType::kF16}};

TEST_CASE("a mixture has the bits of its experts' products, added up in ascending order") {
  std::mt19937 rng(2);
  for (const std::vector<DType>& dtypes : kDtypes) {
    const MixtureShape fixed[] = {{0, 2, 5, 4, 3}, {1, 1, 1, 1, 1},   {70, 2, 3, 3, 2},
                                  {9, 3, 7, 4, 7}, {4, 8, 13, 9, 11}, {5, 2, 4, 0, 4}};
    for (const MixtureShape& shape : fixed) {
      const Mixture mixture(rng, shape, 37, 66, dtypes);
      RequireSameBits(mixture.OnDevice(), mixture.Expected(),
                      shape.Describe() + " " + Name(dtypes[0]));
    }
    for (int i = 0; i < 4; ++i) {
      const auto any = [&](int64_t low, int64_t high) {
        return low + static_cast<int64_t>(rng()) % (high - low + 1);
      };
      const int64_t k = any(1, 8), num_experts = any(k, 11);
      const MixtureShape shape = {any(1, 40), k, num_experts, any(0, num_experts),
                                  any(k, num_experts)};
      const Mixture mixture(rng, shape, any(1, 140), any(1, 70), dtypes);
      RequireSameBits(mixture.OnDevice(), mixture.Expected(),
                      shape.Describe() + " " + Name(dtypes[0]));
    }
  }
}

TEST_CASE("a token's mixture has the same bits alone and in any batch") {
  std::mt19937 rng(3);
  for (const std::vector<DType>& dtypes : kDtypes) {
    const Mixture mixture(rng, {45, 3, 6, 5, 5}, 40, 35, dtypes);
    const std::vector<float> together = mixture.OnDevice();
    for (const int64_t t : {0, 17, 44}) {
      RequireSameBits(mixture.OnDevice(t),
                      {together.data() + t * mixture.dim, static_cast<size_t>(mixture.dim)},
                      "token " + std::to_string(t) + " " + Name(dtypes[0]));
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
