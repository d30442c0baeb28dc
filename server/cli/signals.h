// SIGTERM and SIGINT as events on one thread.
#pragma once

#include <chrono>
#include <functional>

namespace latentd {

// Blocks SIGTERM, SIGINT and SIGPIPE in the calling thread and every thread it starts from now on.
void BlockSignals();

// Waits on the calling thread for SIGTERM or SIGINT, then drains: calls `begin_drain`, then waits
// until `drained()` is true, `timeout` has passed, or a second signal comes. Returns true when
// drained in time; a second signal ends the process at once.
class DrainWatch {
 public:
  DrainWatch();
  ~DrainWatch();
  // Any thread: look at drained() again.
  void Wake();
  bool Wait(const std::function<void()>& begin_drain, const std::function<bool()>& drained,
            std::chrono::seconds timeout);

 private:
  int signal_fd_, event_fd_;
};

}  // namespace latentd
