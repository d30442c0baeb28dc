#include "server/cli/rank_range.h"

#include <catch2/catch.hpp>
#include <tuple>

namespace latentd {
namespace {

using Ranks = std::vector<uint32_t>;

Ranks Parsed(std::string_view text) {
  const auto ranks = ParseRanks(text);
  INFO(ranks.status());
  REQUIRE(ranks.ok());
  return *ranks;
}

std::string Refusal(std::string_view text) {
  const auto ranks = ParseRanks(text);
  REQUIRE_FALSE(ranks.ok());
  CHECK(ranks.status().code() == absl::StatusCode::kInvalidArgument);
  return std::string(ranks.status().message());
}

TEST_CASE("Ranges of ranks") {
  CHECK(Parsed("96") == Ranks{96});
  CHECK(Parsed("241:242") == Ranks{241, 242});
  CHECK(Parsed("32:96:16") == Ranks{32, 48, 64, 80, 96});
  CHECK(Parsed("10:25:10") == Ranks{10, 20});  // the end need not be met
  CHECK(Parsed("7:7:3") == Ranks{7});
  CHECK(Parsed("5:6:4294967") == Ranks{5});
  const Ranks wide = Parsed("64:768:16");
  CHECK(wide.size() == 45);
  CHECK(wide.back() == 768);
}

TEST_CASE("Lists of ranges are sorted and each rank is kept once") {
  CHECK(Parsed("64,16,32:64:16") == Ranks{16, 32, 48, 64});
}

TEST_CASE("The largest rank does not overflow") {
  CHECK(Parsed("2147483600:2147483647:47") == Ranks{2147483600, 2147483647});
  CHECK(Parsed("1:2147483647:2147483647") == Ranks{1});
}

TEST_CASE("What is no range is refused, with what to write") {
  for (const char* text :
       {"", "x", "64:", ":64", "64:x", "1:2:3:4", "16,", ",16", "0", "0:8", "8:16:0", "-8", "+8",
        " 8", "8 ", "1.5", "2147483648", "99999999999", "8;16"}) {
    INFO(text);
    CHECK_THAT(Refusal(text), Catch::Contains("FROM:TO:STEP"));
  }
  CHECK_THAT(Refusal("64:32:16"), Catch::Contains("'64:32:16' ends before it begins"));
}

TEST_CASE("A range that would never end is refused") {
  CHECK(Parsed("1:4096").size() == 4096);
  CHECK_THAT(Refusal("1:4097"), Catch::Contains("4096"));
  CHECK_THAT(Refusal("1:4096,5000"), Catch::Contains("4096"));
  CHECK_THAT(Refusal("1:2147483647"), Catch::Contains("4096"));
}

TEST_CASE("A width is two ranks; only the query rank may be 0") {
  for (const auto& [text, q, kv] :
       {std::tuple{"512,256", 512u, 256u}, std::tuple{"0,8", 0u, 8u}, std::tuple{"1,1", 1u, 1u}}) {
    const auto width = ParseWidth(text);
    REQUIRE(width.ok());
    CHECK(width->q() == q);
    CHECK(width->kv() == kv);
  }
  for (const char* text : {"", "x", "96", "96,", ",64", "96,0", "96,64,", "96,64,32", "-5,64",
                           "96,+64", " 96,64", "00,8", "96x64", "4294967297,64"}) {
    INFO(text);
    const auto width = ParseWidth(text);
    REQUIRE(width.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(width.status().message()) ==
          "needs Q,KV, two ranks, not '" + std::string(text) + "'");
  }
}

}  // namespace
}  // namespace latentd
