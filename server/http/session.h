// Serves the requests of one connection, one after the other.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/body.h"
#include "server/http/connection.h"
#include "server/http/http_request.h"
#include "server/http/routes.h"
#include "server/http/wake_queue.h"
#include "server/limits.h"
#include "server/service.h"

namespace latentd {

class Metrics;

// What all sessions of a door share. Door thread only, but for what the mailbox carries.
struct DoorContext {
  DoorLimits limits;
  std::string version;
  std::string model_id;        // what answers call the model when the request names none
  Service* service = nullptr;  // borrowed, as metrics
  Metrics* metrics = nullptr;
  std::shared_ptr<WakeQueue> mailbox;
  int64_t created = 0;   // Unix seconds: when the door opened
  bool elastic = false;  // of the model
  BodyBytes bodies;
  bool closing = false;  // no further request on any connection
};

// Door thread only.
class Session {
 public:
  Session(DoorContext* door, std::shared_ptr<Connection> connection);  // the door is borrowed
  // Until the client or the door ends the connection.
  boost::asio::awaitable<void> Run();
  // Says only that there are too many connections.
  boost::asio::awaitable<void> TurnAway();

 private:
  struct Answer {
    int status = 200;
    std::string body;
    std::string_view content_type = "application/json";
    std::vector<std::pair<std::string_view, std::string>> headers = {};
  };
  class Generation;

  // Each returns whether the connection can take another request.
  boost::asio::awaitable<bool> ServeOne(bool first);
  boost::asio::awaitable<bool> Serve(HttpRequest request, Route route);
  boost::asio::awaitable<bool> Tokenize(HttpRequest request);
  boost::asio::awaitable<bool> Detokenize(HttpRequest request);
  boost::asio::awaitable<bool> Generate(HttpRequest request, bool chat);
  boost::asio::awaitable<bool> ReplyWhole(HttpRequest request, Generation* generation);
  // The bytes of `pieces` must live until the call returns. `id` is the request's.
  boost::asio::awaitable<bool> ReplyPieces(const HttpRequest& request,
                                           std::vector<std::string_view> pieces, std::string id);
  boost::asio::awaitable<bool> ReplyEvents(HttpRequest request, Generation* generation);
  boost::asio::awaitable<bool> Reply(const HttpRequest& request, Answer answer);
  boost::asio::awaitable<bool> ReplyError(const HttpRequest& request, HttpError error);
  // An error that the service has counted, or one that is counted here.
  boost::asio::awaitable<bool> ReplyRefused(const HttpRequest& request, HttpError error);

  // The service's small synchronous answers.
  Answer SmallAnswer(const Route& route);
  BodyOptions Options() const;
  bool KeepAlive(const HttpRequest& request) const;
  // Submits the prompts, all or none.
  // False: answered with an error, or the client has left; *reusable says whether it goes on.
  boost::asio::awaitable<bool> Open(const HttpRequest& request, GenerateCall* call,
                                    Generation* generation, bool* reusable);

  DoorContext& door_;
  const std::shared_ptr<Connection> connection_;
};

}  // namespace latentd
