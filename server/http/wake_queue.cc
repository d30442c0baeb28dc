#include "server/http/wake_queue.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace latentd {

void WakeQueue::Post(std::function<void()> run) {
  const std::lock_guard lock(mutex_);
  if (context_ != nullptr) boost::asio::post(*context_, std::move(run));
}

void WakeQueue::Close() {
  const std::lock_guard lock(mutex_);
  context_ = nullptr;
}

}  // namespace latentd
