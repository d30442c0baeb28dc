// One TCP connection as the coroutine that serves it sees it: bytes in, bytes out, and a single
// place to wait for anything to change.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace latentd {

// Door thread only. One coroutine waits at a time. Input is read ahead, up to a bound, even while
// nobody asks for it: that is how a client that leaves is noticed while its answer is computed.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Reads ahead until input() holds read_ahead bytes. A write without progress for write_timeout
  // ends the connection.
  Connection(boost::asio::ip::tcp::socket socket, size_t read_ahead,
             std::chrono::steady_clock::duration write_timeout);

  // Begins reading; the object must be owned by a shared_ptr.
  void Start();

  // Resumes when something has changed since the last Wait (input, end of input, room to write,
  // Notify): true; or at `deadline`: false.
  boost::asio::awaitable<bool> Wait(TimePoint deadline);
  void Notify();

  // Bytes received and not yet consumed.
  std::string_view input() const { return input_; }
  void Consume(size_t num_bytes);
  // The client sends no more: it closed its side, or the connection broke or was aborted. Input
  // received before is still there.
  bool ended() const { return ended_; }

  // False: the connection is of no further use. With `while_there` a client that closed its side
  // counts as gone. `data` must live until the call returns.
  boost::asio::awaitable<bool> Write(std::string_view data, bool while_there);

  // Sends the end, then reads on for a while, so that the client sees the answer before any reset.
  boost::asio::awaitable<void> CloseGently();
  void Abort();

 private:
  void ArmRead();
  void ReadAvailable();

  boost::asio::ip::tcp::socket socket_;
  const size_t read_ahead_;
  const std::chrono::steady_clock::duration write_timeout_;
  boost::asio::steady_timer changed_;
  bool notified_ = false;
  std::string input_;
  bool reading_ = false;  // a wait for input is under way
  bool writing_ = false;  // a wait for room to write is under way
  bool ended_ = false;
  bool aborted_ = false;
};

}  // namespace latentd
