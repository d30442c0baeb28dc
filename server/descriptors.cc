#include "server/descriptors.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>

#include "server/http/http_door.h"

namespace latentd {
namespace {

// gRPC's connections and its pollers', files read later.
constexpr int64_t kOthers = 512;

int64_t NumOpen() {
  std::error_code error;
  std::filesystem::directory_iterator files("/proc/self/fd", error);
  return error ? 64 : std::distance(begin(files), end(files));
}

}  // namespace

int FitConnections(int wanted) {
  const int64_t fixed = NumOpen() + kMaxTurnedAway;
  const int64_t needed = fixed + kOthers + wanted;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  if (limit.rlim_cur < static_cast<rlim_t>(needed) && limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = std::min(limit.rlim_max, static_cast<rlim_t>(needed));
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  if (limit.rlim_cur >= static_cast<rlim_t>(needed)) return wanted;
  // A low limit is shared: HTTP gets half of what is left at least.
  const int64_t rest = static_cast<int64_t>(limit.rlim_cur) - fixed;
  const int64_t fitting = std::max(rest - kOthers, rest / 2);
  return static_cast<int>(std::clamp<int64_t>(fitting, 1, wanted));
}

}  // namespace latentd
