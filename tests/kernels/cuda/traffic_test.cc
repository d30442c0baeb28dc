// The kernels that bench/gpu measures memory with: that they move what they are said to move.
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/cuda/measure/traffic.h"
#include "tests/kernels/cuda/memory.h"

namespace latentd::cuda {
namespace {

// Less than a thread block's share, exactly one, and several with a rest; 4 words to 16 bytes.
const std::vector<int64_t> kCounts = {4, 4096, 4 * 2500 + 4};

std::vector<uint32_t> Filled(int64_t count, uint32_t seed) {
  const Array words(std::vector<uint32_t>(static_cast<size_t>(count + 4), 0xffffffff));
  FillRandom(nullptr, reinterpret_cast<std::byte*>(words.data()), 4 * count, seed);
  return words.Read();
}

TEST_CASE("FillRandom fills its bytes with bf16 values of one size", "[small]") {
  for (const int64_t count : kCounts) {
    std::vector<uint32_t> words = Filled(count, 7);
    CHECK(std::vector<uint32_t>(words.end() - 4, words.end()) ==
          std::vector<uint32_t>(4, 0xffffffff));
    words.resize(static_cast<size_t>(count));
    for (const uint32_t word : words) {
      for (const uint32_t half : {word & 0xffff, word >> 16}) {
        const float value = std::fabs(ToFloat(bf16{static_cast<uint16_t>(half)}));
        REQUIRE((value >= 0.5f && value < 1.0f));
      }
    }
  }
}

TEST_CASE("FillRandom repeats nothing, within a fill or in another", "[small]") {
  constexpr int64_t kCount = 4096;
  const std::vector<uint32_t> words = Filled(kCount, 1);
  CHECK(words == Filled(kCount, 1));
  CHECK(words != Filled(kCount, 2));
  // 4096 of 2^16 patterns: 3970 different ones are expected, give or take 11.
  const std::set<uint32_t> different(words.begin(), words.end());
  CHECK(different.size() > 3970 - 6 * 11);
  uint32_t some = 0, all = 0xffffffff;  // every bit that may change does
  for (size_t i = 0; i < static_cast<size_t>(kCount); ++i) {
    some |= words[i];
    all &= words[i];
  }
  CHECK((some & ~all) == 0x807f807f);
}

TEST_CASE("CopyBytes copies all and no more", "[small]") {
  for (const int64_t count : kCounts) {
    std::vector<uint32_t> from(static_cast<size_t>(count));
    std::iota(from.begin(), from.end(), 1u);
    const Array source(from);
    const Array target(std::vector<uint32_t>(static_cast<size_t>(count + 4), 0));
    CopyBytes(nullptr, reinterpret_cast<const std::byte*>(source.data()),
              reinterpret_cast<std::byte*>(target.data()), 4 * count);
    from.resize(static_cast<size_t>(count + 4), 0);
    CHECK(target.Read() == from);
  }
}

TEST_CASE("ReadBytes folds every word", "[small]") {
  constexpr int kProcessors = 1;
  for (const int64_t count : {int64_t{4}, int64_t{4 * 9000 + 4}}) {
    std::vector<uint32_t> from(static_cast<size_t>(count));
    for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<uint32_t>(i * i * 2654435761u);
    const Array source(from);
    const Array folded(std::vector<uint32_t>(
        static_cast<size_t>(ReadScratchBytes(kProcessors)) / sizeof(uint32_t), 0xffffffff));
    ReadBytes(nullptr, reinterpret_cast<const std::byte*>(source.data()), 4 * count,
              reinterpret_cast<std::byte*>(folded.data()), kProcessors);
    const auto fold = [](const std::vector<uint32_t>& words) {
      return std::accumulate(words.begin(), words.end(), 0u, std::bit_xor<>());
    };
    CHECK(fold(folded.Read()) == fold(from));
  }
}

}  // namespace
}  // namespace latentd::cuda
