// Memory that may still be taken, read from made-up files of the system.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "kernels/core/memory.h"

namespace latentd {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// A root folder with the files that a test gives.
class System {
 public:
  System() {
    std::string name = std::filesystem::temp_directory_path() / "latentd-memory-XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    root_ = name;
  }
  ~System() { std::filesystem::remove_all(root_); }
  System(const System&) = delete;

  void Put(const std::string& path, const std::string& text) const {
    const std::filesystem::path whole = root_ + path;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  void PutMachine(int64_t kib) const {
    Put("/proc/meminfo", "MemTotal:       99999999 kB\nMemFree:  7 kB\nMemAvailable:   " +
                             std::to_string(kib) + " kB\nBuffers:  5 kB\n");
  }
  void PutGroup(const std::string& path, const std::string& limit, int64_t used) const {
    Put("/sys/fs/cgroup" + path + "/memory.max", limit + "\n");
    Put("/sys/fs/cgroup" + path + "/memory.current", std::to_string(used) + "\n");
  }
  int64_t Available() const { return AvailableMemoryBytes(root_); }

 private:
  std::string root_;
};

TEST_CASE("where nothing is known, nothing is the limit") {
  CHECK(System().Available() == kUnknown);
}

TEST_CASE("the machine's available memory") {
  const System system;
  system.PutMachine(1234);
  CHECK(system.Available() == 1234 * 1024);
  system.PutGroup("", "max", 5);  // a group without a limit
  CHECK(system.Available() == 1234 * 1024);
}

TEST_CASE("a control group allows its limit but for what is used, files' pages left out") {
  const System system;
  system.PutMachine(64 * kGiB / 1024);
  system.PutGroup("", std::to_string(8 * kGiB), 7 * kGiB);
  CHECK(system.Available() == kGiB);
  system.Put("/sys/fs/cgroup/memory.stat",
             "anon 4294967296\nfile 9\ninactive_anon 3\nactive_file 1073741824\n"
             "inactive_file 2147483648\nslab 77\n");
  CHECK(system.Available() == 4 * kGiB);
  system.PutGroup("", std::to_string(kGiB), 9 * kGiB);  // over its limit
  CHECK(system.Available() == 0);
}

TEST_CASE("the tightest of the groups that hold the process counts") {
  const System system;
  system.PutMachine(64 * kGiB / 1024);
  system.Put("/proc/self/cgroup", "0::/system.slice/latentd.service\n");
  system.PutGroup("/system.slice/latentd.service", std::to_string(3 * kGiB), kGiB);
  CHECK(system.Available() == 2 * kGiB);
  system.PutGroup("/system.slice", std::to_string(5 * kGiB), 4 * kGiB);
  CHECK(system.Available() == kGiB);
  system.PutGroup("/other.slice", std::to_string(kGiB), kGiB);
  CHECK(system.Available() == kGiB);
  system.PutMachine(100);
  CHECK(system.Available() == 100 * 1024);
}

TEST_CASE("groups of the first version") {
  const System system;
  system.PutMachine(64 * kGiB / 1024);
  system.Put("/proc/self/cgroup", "5:memory:/docker\n");
  const std::string memory = "/sys/fs/cgroup/memory/memory.";
  system.Put(memory + "limit_in_bytes", std::to_string(6 * kGiB));
  system.Put(memory + "usage_in_bytes", std::to_string(5 * kGiB));
  system.Put(memory + "stat", "inactive_file 1\ntotal_inactive_file 1073741824\n");
  CHECK(system.Available() == 2 * kGiB);
}

TEST_CASE("this machine has some") { CHECK(AvailableMemoryBytes() > 0); }

}  // namespace
}  // namespace latentd
