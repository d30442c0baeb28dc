// A server-streaming call of gRPC's callback API over a MessageStream of the service.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

#include "server/grpc/open_calls.h"
#include "server/grpc/pump.h"
#include "server/grpc/rpc_status.h"
#include "server/grpc/wire.h"
#include "server/service.h"

namespace latentd {

// Lives until gRPC is done with the call and nobody refers to it. One message is under way at a
// time: the next is asked for when gRPC has taken the last, so a slow client pauses its own request
// in the engine and holds no memory here. Thread-safe; no lock is held while gRPC is called.
template <typename Message>
class StreamReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                            public std::enable_shared_from_this<StreamReactor<Message>> {
 public:
  static std::shared_ptr<StreamReactor> Make(std::shared_ptr<Pump> pump, OpenCalls* open) {
    auto reactor = std::make_shared<StreamReactor>(std::move(pump), open);
    reactor->self_ = reactor;
    open->Begin();
    return reactor;
  }
  StreamReactor(std::shared_ptr<Pump> pump, OpenCalls* open)
      : pump_(std::move(pump)), open_(open) {}

  // The service's answer to the request; once.
  void Start(absl::StatusOr<std::shared_ptr<MessageStream<Message>>> stream) {
    if (!stream.ok()) return End(ToGrpc(stream.status()));
    bool left;  // the caller, meanwhile
    {
      const std::lock_guard lock(mutex_);
      left = finished_;
      if (!left) stream_ = *stream;
    }
    if (left) return (*stream)->Cancel();
    (*stream)->SetWake([weak = this->weak_from_this(), pump = pump_] {
      const auto reactor = weak.lock();
      if (reactor == nullptr || reactor->posted_.exchange(true)) return;
      pump->Post([weak] {
        const auto reactor = weak.lock();
        if (reactor == nullptr) return;
        reactor->posted_ = false;
        reactor->Next();
      });
    });
    Next();
  }

  // Whether nobody waits for the answer any more. Any thread.
  bool left() {
    const std::lock_guard lock(mutex_);
    return finished_ || cancelled_;
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
    }
    if (ok) return Next();
    End(grpc::Status::CANCELLED);
  }

  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      if (stream_ != nullptr) stream_->Cancel();
      if (writing_) return;  // OnWriteDone follows
    }
    End(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    open_->End();
    self_.reset();
  }

 private:
  // Sends the next message or the end, if there is one and nothing is under way.
  void Next() {
    std::shared_ptr<MessageStream<Message>> over;
    std::optional<absl::Status> ended;
    {
      const std::lock_guard lock(mutex_);
      if (writing_ || finished_ || stream_ == nullptr) return;
      typename MessageStream<Message>::Item item = stream_->TryNext();
      if (!item.message && !item.ended) return;
      if (item.message) {
        message_ = ToWire(*item.message);
        writing_ = true;
      } else {
        ended = std::move(item.ended);
        finished_ = true;
        over.swap(stream_);
      }
    }
    if (ended) return this->Finish(ToGrpc(*ended));
    this->StartWrite(&message_);
  }

  // Ends the call unless that has happened, and cancels the stream, if any.
  void End(const grpc::Status& status) {
    std::shared_ptr<MessageStream<Message>> dropped;
    {
      const std::lock_guard lock(mutex_);
      if (finished_ || writing_) return;
      finished_ = true;
      dropped.swap(stream_);
    }
    if (dropped != nullptr) dropped->Cancel();
    this->Finish(status);
  }

  const std::shared_ptr<Pump> pump_;
  OpenCalls* const open_;
  std::shared_ptr<StreamReactor> self_;  // until OnDone
  std::atomic<bool> posted_{false};      // a wake is on its way
  std::mutex mutex_;
  std::shared_ptr<MessageStream<Message>> stream_;  // guarded by mutex_, as the flags
  bool writing_ = false;
  bool finished_ = false;
  bool cancelled_ = false;
  grpc::ByteBuffer message_;  // under way while writing_
};

}  // namespace latentd
