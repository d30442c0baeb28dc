// Every value of every axis once, contexts long enough for units of 512 and groups of 2048, and a
// random slice of all settings.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "tests/determinism/workload.h"

namespace latentd {
namespace {

uint64_t Seed() {
  if (const char* given = std::getenv("LATENTD_DETERMINISM_SEED")) {
    return std::strtoull(given, nullptr, 10);
  }
  return std::random_device{}();
}

}  // namespace

TEST_CASE("every value of every axis gives the same bits") {
  Matrix matrix(MatrixModel());
  for (const Setting& setting : EveryValueOnce()) {
    INFO(Describe(setting));
    CHECK(matrix.Check(setting).value_or("") == "");
  }
}

// A part of the context is a unit or a group when threads share it; neither that nor the chunk may
// move the order of the sum.
TEST_CASE("long contexts give the same bits in every chunk and on any number of threads") {
  Matrix matrix(MatrixModel());
  for (int64_t threads : {1, 2, 3}) {
    for (int64_t chunk : {int64_t{65}, int64_t{200}, kWholePrompt}) {
      Setting setting = UsualSetting();
      setting.values[static_cast<size_t>(AxisId::kContext)] = 2300;
      setting.values[static_cast<size_t>(AxisId::kThreads)] = threads;
      setting.values[static_cast<size_t>(AxisId::kChunk)] = chunk;
      setting.values[static_cast<size_t>(AxisId::kBatch)] = 2;
      INFO(Describe(setting));
      CHECK(matrix.Check(setting).value_or("") == "");
    }
  }
}

TEST_CASE("a random slice of all settings gives the same bits") {
  const uint64_t seed = Seed();
  std::printf("determinism slice: LATENTD_DETERMINISM_SEED=%llu\n",
              static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  Matrix matrix(MatrixModel());
  for (int i = 0; i < 20; ++i) {
    const Setting setting = RandomSetting(random);
    INFO("seed " << seed << ": " << Describe(setting));
    CHECK(matrix.Check(setting).value_or("") == "");
  }
}

}  // namespace latentd
