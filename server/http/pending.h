// A call of the service under way, seen from a session. Internal to server/http.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "server/http/connection.h"
#include "server/http/wake_queue.h"

namespace latentd {

// Wakes the connection's coroutine; to be called from any thread, also after the connection's end.
// Calls that come before the coroutine ran are one.
inline std::function<void()> WakerOf(const std::shared_ptr<Connection>& connection,
                                     std::shared_ptr<WakeQueue> mailbox) {
  auto posted = std::make_shared<std::atomic<bool>>(false);
  return [posted, mailbox = std::move(mailbox), weak = std::weak_ptr<Connection>(connection)] {
    if (posted->exchange(true)) return;
    mailbox->Post([posted, weak] {
      posted->store(false);
      if (const auto alive = weak.lock()) alive->Notify();
    });
  };
}

// The result of one call. Owned by the session; when that is gone, a late result is dropped.
template <typename T>
class Pending {
 public:
  Pending(std::shared_ptr<Connection> connection, std::shared_ptr<WakeQueue> mailbox)
      : connection_(std::move(connection)), mailbox_(std::move(mailbox)) {}

  // To be handed to the service.
  std::function<void(absl::StatusOr<T>)> Callback() {
    return [mailbox = mailbox_, weak = std::weak_ptr<Slot>(slot_)](absl::StatusOr<T> result) {
      auto shared = std::make_shared<absl::StatusOr<T>>(std::move(result));
      mailbox->Post([weak, shared] {
        const auto slot = weak.lock();
        if (!slot || slot->result) return;
        slot->result = std::move(*shared);
        slot->connection->Notify();
      });
    };
  }

  // Whether nobody waits any more, for the service to ask. Any thread.
  std::function<bool()> Left() const {
    return [weak = std::weak_ptr<Slot>(slot_)] { return weak.expired(); };
  }

  // False: the client left first. At the deadline, DEADLINE_EXCEEDED is the result.
  boost::asio::awaitable<bool> Wait(Connection::TimePoint deadline = Connection::TimePoint::max()) {
    while (!slot_->result) {
      if (connection_->ended()) co_return false;
      const bool changed = co_await connection_->Wait(deadline);
      if (changed || slot_->result || std::chrono::steady_clock::now() < deadline) continue;
      slot_->result =
          absl::DeadlineExceededError("the deadline passed before the request could be started");
    }
    co_return true;
  }
  absl::StatusOr<T>& result() { return *slot_->result; }

 private:
  struct Slot {
    std::optional<absl::StatusOr<T>> result;  // door thread only
    Connection* connection = nullptr;         // outlives the slot
  };
  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<WakeQueue> mailbox_;
  const std::shared_ptr<Slot> slot_ = std::make_shared<Slot>(Slot{std::nullopt, connection_.get()});
};

}  // namespace latentd
