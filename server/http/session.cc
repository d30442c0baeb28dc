#include "server/http/session.h"

#include <optional>
#include <utility>
#include <variant>

#include "server/cat.h"
#include "server/errors.h"
#include "server/http/model_json.h"
#include "server/http/pending.h"
#include "server/http/response.h"
#include "server/metrics.h"

namespace latentd {
namespace {

namespace asio = boost::asio;

// What a door's own answer counts as.
Refusal RefusalOfHttp(int status) {
  switch (status) {
    case 404:
      return Refusal::kNotFound;
    case 408:
      return Refusal::kDeadline;
    case 413:
    case 431:
      return Refusal::kTooLarge;
    case 503:
      return Refusal::kFull;
    default:
      return Refusal::kInvalid;
  }
}

}  // namespace

Session::Session(DoorContext* door, std::shared_ptr<Connection> connection)
    : door_(*door), connection_(std::move(connection)) {}

asio::awaitable<void> Session::Run() {
  bool first = true;
  while (co_await ServeOne(first)) first = false;
  co_await connection_->CloseGently();
}

asio::awaitable<void> Session::TurnAway() {
  HttpRequest none;
  none.keep_alive = false;
  co_await ReplyRefused(none, DoorError(503, Cat("there are too many connections (",
                                                 door_.limits.max_connections, ")")));
  co_await connection_->CloseGently();
}

asio::awaitable<bool> Session::ServeOne(bool first) {
  std::optional<Route> route;
  ReadOptions options;
  options.limits = &door_.limits;
  options.bodies = &door_.bodies;
  options.first = first;
  options.closing = [this] { return door_.closing; };
  options.check_head = [&route](const HttpRequest& request) -> std::optional<HttpError> {
    std::variant<Route, HttpError> found = FindRoute(request.method, request.path);
    if (auto* error = std::get_if<HttpError>(&found)) return std::move(*error);
    route = std::get<Route>(std::move(found));
    if (!TakesBody(route->endpoint) ||
        IsJsonContent(request.content_type, request.content_encoding)) {
      return std::nullopt;
    }
    return DoorError(415, "the body must be application/json in UTF-8, and say so in Content-Type");
  };
  ReadResult read = co_await ReadRequest(connection_.get(), std::move(options));
  if (read.error) {
    read.request.keep_alive = read.request.keep_alive && read.in_sync;
    co_return co_await ReplyRefused(read.request, *std::move(read.error));
  }
  if (!read.complete) {
    connection_->Abort();  // nobody is there, or nothing was said
    co_return false;
  }
  co_return co_await Serve(std::move(read.request), *std::move(route));
}

asio::awaitable<bool> Session::Serve(HttpRequest request, Route route) {
  switch (route.endpoint) {
    case Endpoint::kTokenize:
      co_return co_await Tokenize(std::move(request));
    case Endpoint::kDetokenize:
      co_return co_await Detokenize(std::move(request));
    case Endpoint::kCompletions:
      co_return co_await Generate(std::move(request), /*chat=*/false);
    case Endpoint::kChatCompletions:
      co_return co_await Generate(std::move(request), /*chat=*/true);
    default:
      co_return co_await Reply(request, SmallAnswer(route));
  }
}

Session::Answer Session::SmallAnswer(const Route& route) {
  const auto error = [](const HttpError& e) {
    Answer answer{e.status, ErrorBody(e)};
    if (e.retry_after_seconds > 0) {
      answer.headers.emplace_back("Retry-After", std::to_string(e.retry_after_seconds));
    }
    return answer;
  };
  switch (route.endpoint) {
    case Endpoint::kHealth:
      if (!door_.service->live()) return error(DoorError(503, "the engine stands still"));
      return {200, StatusBody("ok")};
    case Endpoint::kReady:
      if (door_.service->draining()) return error(ErrorOf(Draining()));
      if (!door_.service->live()) return error(DoorError(503, "the engine stands still"));
      return {200, StatusBody("ready")};
    case Endpoint::kMetrics:
      return {200, door_.metrics->Exposition(), "text/plain; version=0.0.4; charset=utf-8"};
    case Endpoint::kVersion:
      return {200, VersionBody(door_.version)};
    case Endpoint::kModels:
      return {200, ModelListBody(door_.service->ListModels(), door_.created)};
    default:
      break;
  }
  const absl::StatusOr<v1::Model> model = door_.service->GetModel(route.model_id);
  if (model.ok()) return {200, ModelBody(*model, door_.created)};
  door_.metrics->Refused(RefusalOf(model.status()));
  return error(ErrorOf(model.status()));
}

BodyOptions Session::Options() const {
  return {door_.limits.max_json_depth, door_.limits.ignore_unknown_fields};
}

bool Session::KeepAlive(const HttpRequest& request) const {
  return request.keep_alive && !door_.closing;
}

asio::awaitable<bool> Session::Tokenize(HttpRequest request) {
  absl::StatusOr<TokenizeCall> call = ParseTokenizeBody(request.body, Options());
  if (!call.ok()) co_return co_await ReplyRefused(request, ErrorOf(call.status()));
  Pending<v1::TokenizeResponse> pending(connection_, door_.mailbox);
  CallContext context;
  context.received = request.received;
  context.left = pending.Left();
  door_.service->Tokenize(std::move(call->request), std::move(context), pending.Callback());
  if (!co_await pending.Wait()) co_return false;
  if (!pending.result().ok()) {
    co_return co_await ReplyError(request, ErrorOf(pending.result().status()));
  }
  Answer answer{200, TokenizeBody(*pending.result(), call->return_token_strings)};
  co_return co_await Reply(request, std::move(answer));
}

asio::awaitable<bool> Session::Detokenize(HttpRequest request) {
  absl::StatusOr<v1::DetokenizeRequest> call = ParseDetokenizeBody(request.body, Options());
  if (!call.ok()) co_return co_await ReplyRefused(request, ErrorOf(call.status()));
  Pending<v1::DetokenizeResponse> pending(connection_, door_.mailbox);
  door_.service->Detokenize(*std::move(call), pending.Callback());
  if (!co_await pending.Wait()) co_return false;
  if (!pending.result().ok()) {
    co_return co_await ReplyError(request, ErrorOf(pending.result().status()));
  }
  Answer answer{200, DetokenizeBody(*pending.result())};
  co_return co_await Reply(request, std::move(answer));
}

asio::awaitable<bool> Session::Reply(const HttpRequest& request, Answer answer) {
  ResponseHead head;
  head.status = answer.status;
  head.content_type = answer.content_type;
  head.http10 = request.http10;
  head.keep_alive = KeepAlive(request);
  head.content_length = answer.body.size();
  head.more = std::move(answer.headers);
  std::string bytes = HeadBytes(head);
  if (request.method != "HEAD") bytes += answer.body;
  const bool sent = co_await connection_->Write(bytes, /*while_there=*/false);
  co_return sent&& head.keep_alive;
}

asio::awaitable<bool> Session::ReplyError(const HttpRequest& request, HttpError error) {
  Answer answer{error.status, ErrorBody(error)};
  if (error.retry_after_seconds > 0) {
    answer.headers.emplace_back("Retry-After", std::to_string(error.retry_after_seconds));
  }
  if (!error.allow.empty()) answer.headers.emplace_back("Allow", error.allow);
  co_return co_await Reply(request, std::move(answer));
}

asio::awaitable<bool> Session::ReplyRefused(const HttpRequest& request, HttpError error) {
  door_.metrics->Refused(RefusalOfHttp(error.status));
  co_return co_await ReplyError(request, std::move(error));
}

}  // namespace latentd
