#include "server/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace latentd {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

int64_t MachineAvailable() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return kUnlimited;
}

int64_t ReadNumber(const char* path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : kUnlimited;  // "max", or no such control group
}

int64_t GroupAvailable(const char* limit_path, const char* used_path) {
  const int64_t limit = ReadNumber(limit_path), used = ReadNumber(used_path);
  return limit == kUnlimited || used == kUnlimited ? kUnlimited
                                                   : std::max<int64_t>(0, limit - used);
}

}  // namespace

int64_t AvailableMemoryBytes() {
  const int64_t v2 = GroupAvailable("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current");
  const int64_t v1 = GroupAvailable("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                    "/sys/fs/cgroup/memory/memory.usage_in_bytes");
  return std::min({MachineAvailable(), v1, v2});
}

}  // namespace latentd
