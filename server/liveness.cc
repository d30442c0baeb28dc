#include "server/liveness.h"

namespace latentd {
namespace {

// How long an engine with work may compute no layer before it counts as standing still. Longer than
// any layer of a full chunk and than a reader may stall.
constexpr std::chrono::seconds kStandstill{120};

}  // namespace

bool Liveness::Check(const EngineStats& stats, int64_t in_flight, TimePoint now) {
  // Requests whose readers do not drain are in flight, yet nothing stands still on our side.
  const bool idle = in_flight == 0 ||
                    stats.requests_waiting + stats.sequences_running + stats.sequences_waiting == 0;
  const std::lock_guard lock(mutex_);
  if (idle || stats.layers_done != layers_ || !progress_) {
    layers_ = stats.layers_done;
    progress_ = now;
  }
  return now - *progress_ < kStandstill;
}

}  // namespace latentd
