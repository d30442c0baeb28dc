#include "engine/sampling/logprobs.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "engine/sampling/logits_hash.h"

namespace latentd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST_CASE("Logprobs are the log of the softmax, ranks count the better ones") {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 4);
  for (const size_t vocab : {1U, 7U, 8U, 61U, 3000U}) {
    std::vector<float> logits(vocab);
    for (float& x : logits) x = std::round(normal(random) * 8) / 8;
    long double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<long double>(x));
    std::vector<uint32_t> order(vocab);
    for (uint32_t i = 0; i < vocab; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
    for (size_t place = 0; place < vocab; place += 1 + vocab / 50) {
      const TokenLogprobs got = RawLogprobs(logits, order[place], 20);
      REQUIRE(got.chosen.token == order[place]);
      REQUIRE(got.chosen.rank == place + 1);
      const auto truth =
          static_cast<double>(static_cast<long double>(logits[order[place]]) - std::log(sum));
      // One fp32 rounding of the result, and the relative error of exp in the sum.
      REQUIRE(std::abs(static_cast<double>(got.chosen.logprob) - truth) <=
              std::abs(truth) * 0x1p-24 + 0x1p-22);
      REQUIRE(got.top.size() == std::min<size_t>(20, vocab));
      for (size_t i = 0; i < got.top.size(); ++i) {
        REQUIRE(got.top[i].token == order[i]);
        REQUIRE(got.top[i].rank == i + 1);
        REQUIRE(got.top[i].logprob == RawLogprobs(logits, order[i], 0).chosen.logprob);
      }
    }
  }
}

TEST_CASE("Ties rank by id; impossible tokens have logprob -inf") {
  const std::vector<float> logits = {2, 2, -kInf, 2};
  CHECK(RawLogprobs(logits, 3, 0).chosen.rank == 3);
  CHECK(RawLogprobs(logits, 0, 0).chosen.rank == 1);
  CHECK(RawLogprobs(logits, 2, 0).chosen.logprob == -kInf);
  CHECK(RawLogprobs(logits, 2, 0).chosen.rank == 4);
  const TokenLogprobs three = RawLogprobs(logits, 1, 3);
  CHECK(three.top[0].token == 0);
  CHECK(three.top[1].token == 1);
  CHECK(three.top[2].token == 3);
  CHECK(three.chosen.logprob == Approx(std::log(1.0 / 3)));
  CHECK(RawLogprobs(logits, 1, 0).top.empty());
}

std::string HashOfFirst(size_t count) {
  RunningSipHash hash(0x0706050403020100, 0x0f0e0d0c0b0a0908);
  for (size_t i = 0; i < count; ++i) {
    const auto byte = static_cast<std::byte>(i);
    hash.Update(std::span(&byte, 1));
  }
  const LogitsDigest digest = hash.Digest();
  return {digest.begin(), digest.end()};
}

std::string Bytes(std::initializer_list<int> values) {
  return std::string(values.begin(), values.end());
}

TEST_CASE("SipHash-2-4-128 gives its authors' vectors") {
  CHECK(HashOfFirst(0) == Bytes({0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72,
                                 0x14, 0xc7, 0x55, 0x02, 0x93}));
  CHECK(HashOfFirst(1) == Bytes({0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59,
                                 0x11, 0x9b, 0x22, 0xfc, 0x45}));
  CHECK(HashOfFirst(7) == Bytes({0xa1, 0xf1, 0xeb, 0xbe, 0xd8, 0xdb, 0xc1, 0x53, 0xc0, 0xb8, 0x4a,
                                 0xa6, 0x1f, 0xf0, 0x82, 0x39}));
  CHECK(HashOfFirst(8) == Bytes({0x3b, 0x62, 0xa9, 0xba, 0x62, 0x58, 0xf5, 0x61, 0x0f, 0x83, 0xe2,
                                 0x64, 0xf3, 0x14, 0x97, 0xb4}));
}

TEST_CASE("The digest does not depend on how the bytes were split") {
  std::vector<std::byte> bytes(67);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  RunningSipHash whole(1, 2);
  whole.Update(bytes);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    RunningSipHash split(1, 2);
    split.Update(std::span(bytes).first(cut));
    (void)split.Digest();  // looking changes nothing
    split.Update(std::span(bytes).subspan(cut));
    REQUIRE(split.Digest() == whole.Digest());
  }
}

TEST_CASE("The logits hash tells rows, their order, single bits and the kernel path apart") {
  const std::vector<float> a = {1, 2, 3}, b = {1, 2, std::nextafter(3.0F, 4.0F)};
  const auto hash = [](std::string_view path, std::initializer_list<std::vector<float>> rows) {
    LogitsHash running(path);
    for (const std::vector<float>& row : rows) running.AddRow(row);
    return running.Digest();
  };
  CHECK(hash("cpu", {a, b}).size() == 16);
  CHECK(hash("cpu", {a, b}) == hash("cpu", {a, b}));
  CHECK(hash("cpu", {a, b}) != hash("cpu", {b, a}));
  CHECK(hash("cpu", {a}) != hash("cpu", {b}));
  CHECK(hash("cpu", {a}) != hash("cpu-avx2", {a}));
}

}  // namespace
}  // namespace latentd
