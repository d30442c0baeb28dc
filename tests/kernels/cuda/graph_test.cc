// Kernels recorded once and run often, emulated or on a device, against the same enqueued.
#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>

#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/operators.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

constexpr int64_t kRows = 3, kIn = 520, kOut = 70;  // more than one part of K, so that it clusters
constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// y = W x, by a kernel with tensor map and cluster, and then x is scaled, by a plain one.
struct Work {
  explicit Work(uint32_t seed) : rng(seed) {}

  void Enqueue(CUstream_st* stream, float factor) const {
    const MatrixView<float> in = x.View(kRows, kIn);
    Linear(stream,
           {.x = in, .w = {w.data(), DType::kBF16, kOut, kIn, kIn}, .y = y.View(kRows, kOut)});
    ScaleInPlace(stream, in, factor);
  }
  static std::vector<bf16> Weights(std::mt19937& rng) {
    const std::vector<float> values = RandomFloats(rng, kOut * kIn);
    std::vector<bf16> weights(values.size());
    std::transform(values.begin(), values.end(), weights.begin(), ToBf16);
    return weights;
  }

  std::mt19937 rng;
  std::vector<float> first_x = RandomFloats(rng, kRows* kIn);
  Array<bf16> w{Weights(rng)};
  Array<float> x{first_x};
  Array<float> y{std::vector<float>(static_cast<size_t>(kRows * kOut), kPoison)};
};

}  // namespace

TEST_CASE("a graph runs its kernels at each run, on what memory holds by then", "[small]") {
  const Work recorded(1), enqueued(1);
  const Stream stream;
  float factor = 1.5f;
  const auto graph =
      Graph::TryCapture(stream.get(), [&] { recorded.Enqueue(stream.get(), factor); });
  REQUIRE(graph != nullptr);
  factor = 7;  // what was given by value stays
  stream.Wait();
  RequireSameBits(recorded.x.Read(), recorded.first_x, "x after the capture");
  const std::vector<float> untouched = recorded.y.Read();
  CHECK(
      std::all_of(untouched.begin(), untouched.end(), [](float value) { return value != value; }));
  for (int run = 0; run < 3; ++run) {
    graph->Launch(stream.get());
    enqueued.Enqueue(stream.get(), 1.5f);
    stream.Wait();
    RequireSameBits(recorded.x.Read(), enqueued.x.Read(), "x of run " + std::to_string(run));
    RequireSameBits(recorded.y.Read(), enqueued.y.Read(), "y of run " + std::to_string(run));
  }
}

}  // namespace latentd::cuda
