#include "kernels/core/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>

namespace latentd {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The number behind a key, of lines "KEY NUMBER …"; `otherwise` where there is none.
int64_t NumberOf(const std::string& path, const std::string& wanted, int64_t otherwise) {
  std::ifstream file(path);
  std::string key, rest;
  int64_t value = 0;
  while (file >> key >> value) {
    if (key == wanted) return value;
    std::getline(file, rest);
  }
  return otherwise;
}

int64_t ReadNumber(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : kUnlimited;  // "max", or no such control group
}

// Of one control group; `prefix` of the keys that count the groups below too.
int64_t GroupAvailable(const std::string& group, const char* limit_file, const char* used_file,
                       const std::string& prefix) {
  const int64_t limit = ReadNumber(group + limit_file), used = ReadNumber(group + used_file);
  if (limit == kUnlimited || used == kUnlimited) return kUnlimited;
  const std::string stat = group + "/memory.stat";
  const int64_t cached =
      NumberOf(stat, prefix + "active_file", 0) + NumberOf(stat, prefix + "inactive_file", 0);
  return std::max<int64_t>(0, limit - std::max<int64_t>(0, used - cached));
}

// Of this process's group and all that it lies in.
int64_t UnifiedAvailable(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string path;
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::/")) path = line.substr(3);
  }
  int64_t least = kUnlimited;
  for (;; path.resize(path.rfind('/'))) {
    if (path == "/") path.clear();
    least = std::min(least, GroupAvailable(root + "/sys/fs/cgroup" + path, "/memory.max",
                                           "/memory.current", ""));
    if (path.empty()) return least;
  }
}

}  // namespace

int64_t AvailableMemoryBytes(const std::string& root) {
  const int64_t machine_kib = NumberOf(root + "/proc/meminfo", "MemAvailable:", -1);
  const int64_t first_version = GroupAvailable(
      root + "/sys/fs/cgroup/memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_");
  return std::min(
      {machine_kib < 0 ? kUnlimited : machine_kib * 1024, UnifiedAvailable(root), first_version});
}

}  // namespace latentd
