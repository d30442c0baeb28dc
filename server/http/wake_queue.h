// The way from other threads (engine, preprocessing) to the door's thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>

#include <boost/asio/io_context.hpp>

namespace latentd {

// Thread-safe. Shared with whoever may call after the door is gone: then Post drops the function.
class WakeQueue {
 public:
  explicit WakeQueue(boost::asio::io_context* context)
      : context_(context) {}  // borrowed until Close
  // Runs `run` on the door's thread.
  void Post(std::function<void()> run);
  void Close();

 private:
  std::mutex mutex_;
  boost::asio::io_context* context_;  // guarded by mutex_
};

}  // namespace latentd
