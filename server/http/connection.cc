#include "server/http/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace latentd {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::seconds kLinger{1};

bool WouldBlock(const error_code& error) {
  return error == asio::error::would_block || error == asio::error::try_again;
}

}  // namespace

Connection::Connection(tcp::socket socket, size_t read_ahead,
                       std::chrono::steady_clock::duration write_timeout)
    : socket_(std::move(socket)),
      read_ahead_(read_ahead),
      write_timeout_(write_timeout),
      changed_(socket_.get_executor()) {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(tcp::no_delay(true), ignored);
}

void Connection::Start() { ArmRead(); }

asio::awaitable<bool> Connection::Wait(TimePoint deadline) {
  if (!notified_) {
    changed_.expires_at(deadline);
    error_code ignored;
    co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_return std::exchange(notified_, false);
}

void Connection::Notify() {
  notified_ = true;
  changed_.cancel();
}

void Connection::Consume(size_t num_bytes) {
  input_.erase(0, num_bytes);
  if (input_.empty()) input_.shrink_to_fit();  // an idle connection holds no buffer
  ArmRead();
}

void Connection::ArmRead() {
  if (reading_ || ended_ || input_.size() >= read_ahead_) return;
  reading_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](const error_code& error) {
    self->reading_ = false;
    if (error) {
      self->ended_ = true;
    } else {
      self->ReadAvailable();
    }
    self->Notify();
  });
}

void Connection::ReadAvailable() {
  std::array<char, 64 << 10> chunk;
  const size_t room = std::min(chunk.size(), read_ahead_ - std::min(read_ahead_, input_.size()));
  error_code error;
  const size_t size = socket_.read_some(asio::buffer(chunk.data(), room), error);
  if (error && !WouldBlock(error)) ended_ = true;
  input_.append(chunk.data(), size);
  ArmRead();
}

asio::awaitable<bool> Connection::Write(std::string_view data, bool while_there) {
  while (!data.empty()) {
    if (aborted_ || (while_there && ended_)) co_return false;
    error_code error;
    const size_t size = socket_.write_some(asio::buffer(data.data(), data.size()), error);
    data.remove_prefix(size);
    if (!error) continue;
    if (!WouldBlock(error)) {
      Abort();
      co_return false;
    }
    writing_ = true;
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](const error_code&) {
      self->writing_ = false;
      self->Notify();
    });
    const TimePoint deadline = std::chrono::steady_clock::now() + write_timeout_;
    while (writing_) {
      const bool changed = co_await Wait(deadline);
      if (changed && !aborted_ && !(while_there && ended_)) continue;
      Abort();
      co_return false;
    }
  }
  co_return true;
}

asio::awaitable<void> Connection::CloseGently() {
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  const TimePoint deadline = std::chrono::steady_clock::now() + kLinger;
  while (!ended_) {
    Consume(input_.size());
    if (!co_await Wait(deadline)) break;
  }
  Abort();
}

void Connection::Abort() {
  ended_ = aborted_ = true;
  error_code ignored;
  socket_.close(ignored);
  Notify();
}

}  // namespace latentd
