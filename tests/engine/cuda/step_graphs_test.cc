#include "engine/cuda/step_graphs.h"

#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "kernels/cuda/operators.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

// Doubles `value` for a shape of so many rows, and counts how often it was asked to.
class Doubling {
 public:
  explicit Doubling(size_t max_graphs) : graphs_(stream_.get(), max_graphs) { *value() = 1; }
  float Run(int64_t num_rows) {
    graphs_.Run({num_rows, 3, 512, {}}, [&] {
      ++num_enqueued;
      cuda::ScaleInPlace(stream_.get(), {value(), 1, 1, 1}, 2);
    });
    return *value();
  }
  int num_enqueued = 0;

 private:
  float* value() const { return reinterpret_cast<float*>(memory_.data()); }

  cuda::DeviceBuffer memory_{sizeof(float)};
  cuda::Stream stream_;
  StepGraphs graphs_;
};

}  // namespace

TEST_CASE("a shape is captured once, and the one used longest ago gives way") {
  Doubling doubling(2);
  float value = 1;
  // The shape, and how often work was enqueued by then.
  const std::vector<std::pair<int64_t, int>> runs = {{1, 1}, {1, 1}, {2, 2}, {1, 2}, {3, 3},
                                                     {1, 3}, {3, 3}, {2, 4}, {1, 5}, {2, 5}};
  for (const auto& [shape, enqueued] : runs) {
    CAPTURE(shape, enqueued, value);
    value *= 2;
    CHECK(doubling.Run(shape) == value);
    CHECK(doubling.num_enqueued == enqueued);
  }
}

TEST_CASE("shapes differ in every part") {
  const DecodeShape shape = {4, 6, 512, {24, 40}};
  CHECK(shape == DecodeShape{4, 6, 512, {24, 40}});
  CHECK_FALSE(shape == DecodeShape{3, 6, 512, {24, 40}});
  CHECK_FALSE(shape == DecodeShape{4, 3, 512, {24, 40}});
  CHECK_FALSE(shape == DecodeShape{4, 6, 2048, {24, 40}});
  CHECK_FALSE(shape == DecodeShape{4, 6, 512, {23, 40}});
  CHECK_FALSE(shape == DecodeShape{4, 6, 512, {24, 39}});
  CHECK_FALSE(shape == DecodeShape{4, 6, 512, {24, 40}, -1});
  CHECK_FALSE(DecodeShape{4, 6, 512, {24, 40}, 5} == DecodeShape{4, 6, 512, {24, 40}, -1});
}

TEST_CASE("without memory for another graph those that fit are kept, or work is enqueued") {
  for (const int64_t fitting : {0, 1}) {
    Doubling doubling(8);
    cuda::SetEmulatedMemory(cuda::EmulatedBytesInUse() +
                            static_cast<uint64_t>(fitting) * cuda::kEmulatedGraphBytes);
    float value = 1;
    for (const int64_t shape : {1, 1, 2, 1, 1, 2}) {
      CAPTURE(fitting, shape);
      value *= 2;
      CHECK(doubling.Run(shape) == value);
    }
    cuda::SetEmulatedMemory(uint64_t{1} << 30);
    // By hand: none fits and each run enqueues, the first after a capture that failed; or the first
    // shape is captured, the second fails once and is enqueued, and then they replace each other.
    CHECK(doubling.num_enqueued == (fitting == 0 ? 7 : 4));
  }
}

TEST_CASE("where another graph finds no memory, half of them give theirs back") {
  Doubling doubling(8);
  const uint64_t others = cuda::EmulatedBytesInUse();
  cuda::SetEmulatedMemory(others + 4 * cuda::kEmulatedGraphBytes);
  for (const int64_t shape : {1, 2, 3, 4, 5}) doubling.Run(shape);
  CHECK(cuda::EmulatedBytesInUse() == others + 2 * cuda::kEmulatedGraphBytes);
  // Four captured, one that failed and was enqueued; then 3 and 4 are there, and 5 replaces 3.
  for (const auto& [shape, enqueued] : {std::pair(3, 6), {4, 6}, {5, 7}, {4, 7}, {3, 8}}) {
    CAPTURE(shape);
    doubling.Run(shape);
    CHECK(doubling.num_enqueued == enqueued);
  }
  CHECK(cuda::EmulatedBytesInUse() == others + 2 * cuda::kEmulatedGraphBytes);
  cuda::SetEmulatedMemory(uint64_t{1} << 30);
}

}  // namespace latentd
