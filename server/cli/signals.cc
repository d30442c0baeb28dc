#include "server/cli/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "kernels/core/check.h"

namespace latentd {
namespace {

sigset_t DrainSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void BlockSignals() {
  const sigset_t set = DrainSignals();
  LATENTD_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
  signal(SIGPIPE, SIG_IGN);
}

DrainWatch::DrainWatch() {
  const sigset_t set = DrainSignals();
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC);
  event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  LATENTD_CHECK(signal_fd_ >= 0 && event_fd_ >= 0);
}

DrainWatch::~DrainWatch() {
  close(signal_fd_);
  close(event_fd_);
}

void DrainWatch::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);  // full is as good
}

bool DrainWatch::Wait(const std::function<void()>& begin_drain,
                      const std::function<bool()>& drained, std::chrono::seconds timeout) {
  using Clock = std::chrono::steady_clock;
  bool draining = false;
  Clock::time_point deadline{};
  for (;;) {
    if (draining && drained()) return true;
    int wait_ms = -1;
    if (draining) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (left <= 0) return false;
      wait_ms = static_cast<int>(std::min<int64_t>(left, 60'000));
    }
    pollfd fds[2] = {{signal_fd_, POLLIN, 0}, {event_fd_, POLLIN, 0}};
    poll(fds, 2, wait_ms);
    if (fds[0].revents != 0) {
      signalfd_siginfo info;
      if (read(signal_fd_, &info, sizeof info) != sizeof info) continue;
      if (draining) _exit(128 + static_cast<int>(info.ssi_signo));
      draining = true;
      deadline = Clock::now() + timeout;
      begin_drain();
    }
    if (fds[1].revents != 0) {
      uint64_t count;
      [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof count);
    }
  }
}

}  // namespace latentd
