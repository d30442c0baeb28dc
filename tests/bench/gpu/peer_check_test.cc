#include "bench/gpu/peers/peer_check.h"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "bench/gpu/peers/agreement.h"
#include "tests/bench/gpu/played_peer.h"

namespace latentd::bench {
namespace {

constexpr int kProcessors = 4;

TEST_CASE("a peer that computes the same passes") {
  PlayFault(Fault::kNone);
  const double worst = CheckSmallOf({.num_heads = 16}, kProcessors);
  CHECK(worst > 0);  // its outputs are rounded
  CHECK(worst <= 0x1p-9);
  CHECK(CheckSmall({.batch = 2, .context = 65, .query_tokens = 8, .num_heads = 4}, kProcessors) <=
        0x1p-9);
  CHECK(CheckSmall({.batch = 1, .context = 65, .num_heads = 128}, kProcessors) <= 0x1p-9);
}

TEST_CASE("a peer that computes something else is found out") {
  DecodeShape shape = {.batch = 3, .context = 65, .num_heads = 16};
  const auto fails = [&](Fault fault) {
    PlayFault(fault);
    try {
      CheckSmall(shape, kProcessors);
    } catch (const WrongResult& wrong) {
      INFO(wrong.what());
      CHECK(std::string(wrong.what()).find("the peer's attention is wrong, context") == 0);
      return true;
    }
    return false;
  };
  CHECK(!fails(Fault::kNone));
  CHECK(fails(Fault::kReadsOtherBlocks));
  CHECK(fails(Fault::kScalesByLatentWidth));
  CHECK(fails(Fault::kWritesNothing));
  CHECK(fails(Fault::kReadsFirstBlockAgain));
  CHECK(fails(Fault::kMissesLastToken));
  CHECK(!fails(Fault::kSeesLaterTokens));  // there is one query token
  shape.query_tokens = 4;
  CHECK(fails(Fault::kSeesLaterTokens));
}

TEST_CASE("a row is checked below a block and beyond") {
  PlayFault(Fault::kReadsFirstBlockAgain);
  CHECK(CheckSmall({.batch = 3, .context = 64}, kProcessors) <= 0x1p-9);
  CHECK_THROWS_AS(CheckSmallOf({.context = 8192}, kProcessors), WrongResult);
}

TEST_CASE("a refusal is the library's own exception") {
  PlayFault(Fault::kRefuses);
  CHECK_THROWS_WITH(CheckSmall({.batch = 1, .context = 30}, kProcessors), "no such shape");
}

TEST_CASE("a large case is held to ours, row by row") {
  std::vector<float> ours(4 * 512, 0.01f), theirs = ours;
  CHECK(CheckBesideOurs(theirs, ours, 512) == 0);
  for (size_t i = 512; i < 1024; ++i) theirs[i] = 0.01f * (1 + 0x1p-8f);  // as rounding may do
  CHECK(CheckBesideOurs(theirs, ours, 512) == Approx(0x1p-8).epsilon(1e-3));
  for (size_t i = 512; i < 1024; ++i) theirs[i] = 0.01f * (1 + 0x1p-6f);
  CHECK_THROWS_AS(CheckBesideOurs(theirs, ours, 512), WrongResult);
  theirs = ours;
  theirs.back() = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(CheckBesideOurs(theirs, ours, 512), WrongResult);
}

}  // namespace
}  // namespace latentd::bench
