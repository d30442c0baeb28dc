// Which nodes there are, and that memory is spread over them.
#include "kernels/core/large_memory.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

namespace latentd {
namespace {

using Nodes = std::vector<int>;

TEST_CASE("node lists as the system writes them") {
  CHECK(ParseNodeList("0\n") == Nodes{0});
  CHECK(ParseNodeList("0-3") == Nodes{0, 1, 2, 3});
  CHECK(ParseNodeList("0,2-3,1023\n") == Nodes{0, 2, 3, 1023});
  for (const char* text : {"", "\n", "-1", "0-", "3-1", "0,", "0,0", "0-2,1", "1024", "0 1", "0x1",
                           "0\n\n", "99999999999"}) {
    INFO(text);
    CHECK(ParseNodeList(text).empty());
  }
}

TEST_CASE("the nodes of a file, and of this machine") {
  std::string name = std::filesystem::temp_directory_path() / "latentd-nodes-XXXXXX";
  const int fd = mkstemp(name.data());
  REQUIRE(fd >= 0);
  REQUIRE(write(fd, "0-1\n", 4) == 4);
  close(fd);
  CHECK(OnlineNodes(name) == Nodes{0, 1});
  REQUIRE(unlink(name.c_str()) == 0);
  CHECK(OnlineNodes(name).empty());
}

// The policy of a page's memory, with its nodes below 64; -1 where the system tells nobody.
int PolicyOf(void* data, unsigned long* nodes) {
  int policy = -1;
  *nodes = 0;
  unsigned long mask[1024 / 64] = {};
  if (syscall(SYS_get_mempolicy, &policy, mask, 1024, data, MPOL_F_ADDR) != 0) return -1;
  *nodes = mask[0];
  return policy;
}

TEST_CASE("memory is interleaved over the nodes asked for, and only that memory") {
  const size_t bytes = 2 * kHugePage;
  void* const data =
      mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(data != MAP_FAILED);
  std::byte* const behind = static_cast<std::byte*>(data) + bytes;
  unsigned long nodes = 0;
  const int before = PolicyOf(data, &nodes);
  const Nodes online = OnlineNodes();
  if (before < 0 || online.empty()) {
    WARN("this system has no memory policies, or lets nobody ask");
  } else if (!InterleaveOver(online, data, bytes)) {
    WARN("this system lets nobody set memory policies");
  } else {
    CHECK(PolicyOf(data, &nodes) == MPOL_INTERLEAVE);
    CHECK(nodes != 0);
    CHECK(PolicyOf(behind, &nodes) == before);
    CHECK_FALSE(InterleaveOver({1023}, data, bytes));  // no machine has it
    AdviseLargeMemory(behind, bytes);
    CHECK((PolicyOf(behind, &nodes) == MPOL_INTERLEAVE) == (online.size() > 1));
  }
  CHECK(munmap(data, 2 * bytes) == 0);
}

}  // namespace
}  // namespace latentd
