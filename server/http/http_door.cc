#include "server/http/http_door.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <ctime>
#include <exception>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "server/cat.h"
#include "server/http/connection.h"
#include "server/http/session.h"

namespace latentd {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// Input held per connection while a request is served, and beyond the longest header.
constexpr size_t kReadAhead = 64 << 10;
// Bodies of the largest size that may be on their way at once.
constexpr size_t kMaxBodies = 32;
constexpr std::chrono::milliseconds kAcceptPause{20};  // no descriptors left

std::string Show(const std::string& host, int port) {
  const bool v6 = host.find(':') != std::string::npos;
  return v6 ? Cat("[", host, "]:", port) : Cat(host, ":", port);
}

// Listens on the first address of `host` that works.
error_code Listen(const HttpDoor::Options& options, asio::io_context* context,
                  tcp::acceptor* acceptor) {
  std::string host = options.host;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  error_code error;
  tcp::resolver resolver(*context);
  const auto found =
      resolver.resolve(host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error) return error;
  for (const auto& entry : found) {
    const tcp::endpoint endpoint = entry.endpoint();
    error = {};
    acceptor->open(endpoint.protocol(), error);
    // Over the remains of closed connections only: a port that is listened on stays refused.
    if (!error) acceptor->set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor->bind(endpoint, error);
    if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
    if (!error) return error;
    error_code ignored;
    acceptor->close(ignored);
  }
  return error;
}

class HttpDoorImpl final : public HttpDoor {
 public:
  HttpDoorImpl(const Options& options, Service* service, Metrics* metrics)
      : acceptor_(context_), mailbox_(std::make_shared<WakeQueue>(&context_)) {
    door_.limits = options.limits;
    door_.bodies.max = kMaxBodies * options.limits.max_body_bytes;
    door_.version = options.version;
    door_.service = service;
    door_.metrics = metrics;
    door_.mailbox = mailbox_;
    door_.created = std::time(nullptr);
    const v1::ListModelsResponse models = service->ListModels();
    if (models.models_size() > 0) {
      door_.elastic = models.models(0).has_elastic();
      door_.model_id = models.models(0).id();
    }
  }

  absl::Status Open(const Options& options) {
    if (const error_code error = Listen(options, &context_, &acceptor_); error) {
      return absl::UnavailableError(Cat("cannot listen for HTTP on ",
                                        Show(options.host, options.port), ": ", error.message()));
    }
    endpoint_ = acceptor_.local_endpoint();
    asio::co_spawn(context_, Accept(), [](std::exception_ptr) {});
    thread_ = std::thread([this] { context_.run(); });
    return absl::OkStatus();
  }

  ~HttpDoorImpl() override {
    Shutdown(std::chrono::steady_clock::now());
    mailbox_->Close();
  }

  int port() const override { return endpoint_.port(); }
  std::string address() const override {
    return Show(endpoint_.address().to_string(), endpoint_.port());
  }

  void Shutdown(std::chrono::steady_clock::time_point deadline) override {
    if (!thread_.joinable()) return;
    mailbox_->Post([this] { BeginClosing(); });
    {
      std::unique_lock lock(mutex_);
      if (!closed_cv_.wait_until(lock, deadline, [this] { return closed_; })) {
        mailbox_->Post([this] { CutConnections(); });
        closed_cv_.wait(lock, [this] { return closed_; });
      }
    }
    context_.stop();
    thread_.join();
  }

 private:
  // The rest runs on the door's thread.

  void BeginClosing() {
    door_.closing = true;
    error_code ignored;
    acceptor_.close(ignored);
    for (const auto& connection : connections_) connection->Notify();
    NoteClosed();
  }

  void CutConnections() {
    for (const auto& connection : connections_) connection->Abort();
  }

  void NoteClosed() {
    if (!door_.closing || !connections_.empty()) return;
    const std::lock_guard lock(mutex_);
    closed_ = true;
    closed_cv_.notify_all();
  }

  asio::awaitable<void> Accept() {
    asio::steady_timer pause(context_);
    while (!door_.closing) {
      error_code error;
      tcp::socket socket =
          co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (!error) {
        Serve(std::move(socket));
      } else if (!door_.closing) {
        pause.expires_after(kAcceptPause);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      }
    }
  }

  void Serve(tcp::socket socket) {
    const int others = static_cast<int>(connections_.size());
    if (door_.closing || others >= door_.limits.max_connections + kMaxTurnedAway) return;
    const size_t read_ahead = std::max(kReadAhead, door_.limits.max_header_bytes + 1);
    auto connection =
        std::make_shared<Connection>(std::move(socket), read_ahead, door_.limits.idle_timeout);
    connections_.insert(connection);
    connection->Start();
    asio::co_spawn(context_, RunSession(connection, others >= door_.limits.max_connections),
                   [this, connection](const std::exception_ptr& failed) {
                     if (failed) connection->Abort();
                     connections_.erase(connection);
                     NoteClosed();
                   });
  }

  asio::awaitable<void> RunSession(std::shared_ptr<Connection> connection, bool too_many) {
    Session session(&door_, std::move(connection));
    if (too_many) {
      co_await session.TurnAway();
    } else {
      co_await session.Run();
    }
  }

  asio::io_context context_{1};
  tcp::acceptor acceptor_;
  const std::shared_ptr<WakeQueue> mailbox_;
  tcp::endpoint endpoint_;
  DoorContext door_;
  std::set<std::shared_ptr<Connection>> connections_;
  std::mutex mutex_;
  std::condition_variable closed_cv_;
  bool closed_ = false;  // guarded by mutex_: no connection is left, and none will come
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpDoor>> HttpDoor::Start(const Options& options, Service* service,
                                                          Metrics* metrics) {
  auto door = std::make_unique<HttpDoorImpl>(options, service, metrics);
  if (absl::Status status = door->Open(options); !status.ok()) return status;
  return door;
}

}  // namespace latentd
