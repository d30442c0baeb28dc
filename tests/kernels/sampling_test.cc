#include "kernels/sampling.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "kernels/core/philox.h"

namespace latentd {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST_CASE("exp is within 2^-22 of the truth, exact at 0, and monotone to 0") {
  CHECK(ExpNonPositive(0.0F) == 1.0F);
  CHECK(ExpNonPositive(-0.0F) == 1.0F);
  CHECK(ExpNonPositive(-kInf) == 0.0F);
  CHECK(ExpNonPositive(-87.5F) == 0.0F);
  double worst = 0;
  for (float x = 0; x > -87.0F; x -= 0.00037F) {
    const double truth = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(ExpNonPositive(x)) - truth) / truth);
  }
  CHECK(worst < 0x1p-22);
}

TEST_CASE("Philox4x32-10 gives Random123's known answers") {
  CHECK(Philox4x32({0, 0, 0, 0}, {0, 0}) ==
        PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("Each of seed, choice and position moves the random number") {
  std::set<uint32_t> seen;
  for (const uint64_t seed : {0ULL, 1ULL, 1ULL << 32}) {
    for (const uint32_t choice : {0U, 1U}) {
      for (const uint64_t position : {0ULL, 1ULL, 1ULL << 32}) {
        seen.insert(DrawBits(seed, choice, position));
      }
    }
  }
  CHECK(seen.size() == 18);
}

TEST_CASE("A penalised logit stays finite, and presence is of the output alone") {
  constexpr float kHuge = std::numeric_limits<float>::max();
  CHECK(Penalties{0.5F, 0, 0}(kHuge, 0) == kHuge);
  CHECK(Penalties{2, 1, 0.5F}(8, 0) == 4);
  CHECK(Penalties{2, 1, 0.5F}(8, 3) == 1.5F);
  CHECK(Penalties{2, 1, 0.5F}(-8, 1) == -17.5F);
  CHECK(Penalties{2, 1, 0.5F}(-kInf, 3) == -kInf);
}

TEST_CASE("Buckets are monotone over the range in use, and every token in it has mass") {
  for (const float lowest : {0.0F, -2e-7F, -1e-3F, -5.0F, -27.5F, -1e30F, -kInf}) {
    const MassScale scale = MassScale::Of(3 + lowest, 3, 1);
    int last = 0;
    for (float scaled = 0; scaled >= std::max(lowest, kLowestScaled); scaled -= 0.0113F) {
      const int bucket = scale.BucketOf(scaled);
      REQUIRE(bucket >= last);
      REQUIRE(bucket < MassScale::kBuckets);
      last = bucket;
    }
    REQUIRE(scale.BucketOf(kLowestScaled) == (lowest == 0 ? 0 : MassScale::kBuckets - 1));
  }
  CHECK(MassOf(0) == uint64_t{1} << 40);
  CHECK(MassOf(kLowestScaled) == 1);
}

// In numbers that hold every bit.
TEST_CASE("A target is the whole part of the product, and top_p's mass is its share rounded up") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t mass = (random() >> random() % 64) | 1;
    const auto r = static_cast<uint32_t>(random() & 0xffffff);
    using Wide = unsigned __int128;
    REQUIRE(DrawTarget(mass, r) == static_cast<uint64_t>((Wide{mass} * r) >> 24));
    const uint64_t share = mass >> 11;  // what a double holds
    if (share == 0) continue;
    const float top_p = static_cast<float>(random() >> 40) * 0x1p-24F;
    const double wanted = std::ceil(static_cast<double>(top_p) * static_cast<double>(share));
    REQUIRE(TopPMass(top_p, share) == std::max<uint64_t>(1, static_cast<uint64_t>(wanted)));
  }
  CHECK(TopPMass(1e-30F, 5) == 1);
  CHECK(TopPMass(1, 5) == 5);
  CHECK(TopPMass(0.5F, 5) == 3);
  CHECK(MinPBound(0) == -kInf);
  CHECK(MinPBound(1) == 0);
}

}  // namespace
}  // namespace latentd
