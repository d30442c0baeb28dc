// Completions and chat: calls to the service, and their streams to JSON or events.
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <ctime>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/cat.h"
#include "server/http/answer.h"
#include "server/http/pending.h"
#include "server/http/response.h"
#include "server/http/session.h"

namespace latentd {
namespace {

namespace asio = boost::asio;

// Messages taken before other connections have their turn.
constexpr int kMaxMessagesAtOnce = 64;
// Bytes of an answer made or written at once: above, other connections have their turn, and the
// client's reading sets the pace of events.
constexpr size_t kMaxBytesAtOnce = 64 << 10;

std::string NewId(bool chat) {
  static thread_local std::random_device random;
  const auto word = [] { return static_cast<uint32_t>(random()); };
  return absl::StrFormat("%s%08x%08x%08x%08x", chat ? "chatcmpl-" : "cmpl-", word(), word(), word(),
                         word());
}

// `timeout` is any positive double; time points are not.
Connection::TimePoint After(Connection::TimePoint start, double seconds) {
  constexpr double kLongest = 365.0 * 24 * 3600;
  return start + std::chrono::duration_cast<Connection::TimePoint::duration>(
                     std::chrono::duration<double>(std::min(seconds, kLongest)));
}

// What to tokenize for the prompt's ids in the answer; a prompt of ids gives *ids at once.
v1::TokenizeRequest ToTokenize(const v1::GenerateRequest& message, std::vector<uint32_t>* ids) {
  v1::TokenizeRequest tokenize;
  if (message.has_text()) tokenize.set_text(message.text());
  if (message.has_chat()) *tokenize.mutable_chat() = message.chat();
  if (message.has_add_special_tokens()) {
    tokenize.set_add_special_tokens(message.add_special_tokens());
  }
  ids->assign(message.token_ids().ids().begin(), message.token_ids().ids().end());
  return tokenize;
}

}  // namespace

// The streams of one request. Cancels what has not ended when it goes.
class Session::Generation {
 public:
  Generation(const GenerateCall& call, AnswerHead head)
      : id(head.id), shape(call, std::move(head)) {}
  Generation(const Generation&) = delete;
  ~Generation() {
    for (const auto& stream : streams_) {
      if (stream) stream->Cancel();
    }
  }

  void Add(std::shared_ptr<GenerateStream> stream, const std::function<void()>& wake) {
    stream->SetWake(wake);
    streams_.push_back(std::move(stream));
    ++num_open_;
  }

  // Hands waiting messages to take(prompt_idx, message) until it returns false or enough were
  // taken. True: some were. A failed stream sets failure().
  template <typename Take>
  bool Drain(Take take) {
    int taken = 0;
    bool more = true;
    for (size_t i = 0; i < streams_.size() && more && !failure_; ++i) {
      while (streams_[i] && more) {
        GenerateStream::Item item = streams_[i]->TryNext();
        if (item.ended) {
          if (!item.ended->ok()) failure_ = *std::move(item.ended);
          streams_[i].reset();
          --num_open_;
          ++taken;
        } else if (item.message) {
          ++taken;
          more = take(i, *item.message) && taken < kMaxMessagesAtOnce;
        } else {
          break;
        }
      }
    }
    return taken > 0;
  }

  bool done() const { return num_open_ == 0; }
  const std::optional<absl::Status>& failure() const { return failure_; }

  const std::string id;
  AnswerShape shape;

 private:
  std::vector<std::shared_ptr<GenerateStream>> streams_;  // by prompt; null once ended
  size_t num_open_ = 0;
  std::optional<absl::Status> failure_;
};

asio::awaitable<bool> Session::Open(const HttpRequest& request, GenerateCall* call,
                                    Generation* generation, bool* reusable) {
  CallContext context;
  context.received = request.received;
  context.chat_defaults = call->chat;
  context.prompt_list = call->prompt_list;
  if (call->timeout_seconds) context.deadline = After(request.received, *call->timeout_seconds);
  std::vector<v1::TokenizeRequest> to_tokenize;
  for (size_t i = 0; i < call->requests.size(); ++i) {
    v1::GenerateRequest& message = call->requests[i];
    message.set_request_id(call->requests.size() == 1 ? generation->id
                                                      : Cat(generation->id, "-", i));
    if (!call->return_token_ids) continue;
    to_tokenize.push_back(ToTokenize(message, &generation->shape.prompt_ids[i]));
  }
  Pending<std::vector<std::shared_ptr<GenerateStream>>> pending(connection_, door_.mailbox);
  context.left = pending.Left();
  const Connection::TimePoint deadline = context.deadline.value_or(Connection::TimePoint::max());
  door_.service->GenerateAll(std::move(call->requests), context, pending.Callback());
  if (!co_await pending.Wait(deadline)) co_return false;
  if (!pending.result().ok()) {
    *reusable = co_await ReplyError(request, ErrorOf(pending.result().status()));
    co_return false;
  }
  const std::function<void()> wake = WakerOf(connection_, door_.mailbox);
  for (auto& stream : *pending.result()) generation->Add(std::move(stream), wake);
  for (size_t i = 0; i < to_tokenize.size(); ++i) {
    if (to_tokenize[i].input_case() == v1::TokenizeRequest::INPUT_NOT_SET) continue;
    Pending<v1::TokenizeResponse> ids(connection_, door_.mailbox);
    context.left = ids.Left();
    door_.service->Tokenize(std::move(to_tokenize[i]), context, ids.Callback());
    if (!co_await ids.Wait(deadline)) co_return false;
    if (!ids.result().ok()) {
      *reusable = co_await ReplyError(request, ErrorOf(ids.result().status()));
      co_return false;
    }
    generation->shape.prompt_ids[i].assign(ids.result()->token_ids().begin(),
                                           ids.result()->token_ids().end());
  }
  co_return true;
}

asio::awaitable<bool> Session::Generate(HttpRequest request, bool chat) {
  absl::StatusOr<GenerateCall> call =
      chat ? ParseChatBody(request.body, Options()) : ParseCompletionBody(request.body, Options());
  if (!call.ok()) co_return co_await ReplyRefused(request, ErrorOf(call.status()));
  std::string().swap(request.body);
  AnswerHead head;
  head.id = NewId(chat);
  head.created = std::time(nullptr);
  head.model = call->requests[0].model();
  if (head.model.empty()) head.model = door_.model_id;
  head.fingerprint = Cat("latentd-", door_.version);
  head.show_width = door_.elastic;
  Generation generation(*call, std::move(head));
  bool reusable = false;
  if (!co_await Open(request, &*call, &generation, &reusable)) co_return reusable;
  if (call->stream) co_return co_await ReplyEvents(std::move(request), &generation);
  co_return co_await ReplyWhole(std::move(request), &generation);
}

asio::awaitable<bool> Session::ReplyWhole(HttpRequest request, Generation* generation) {
  WholeAnswer whole(&generation->shape);
  while (!generation->done() && !generation->failure()) {
    if (connection_->ended()) co_return false;
    size_t written = 0;
    const bool some = generation->Drain([&](size_t prompt, const v1::GenerateResponse& message) {
      written += whole.Add(prompt, message);
      return written < kMaxBytesAtOnce;
    });
    if (some) {
      co_await asio::post(asio::use_awaitable);  // others' turn
    } else {
      co_await connection_->Wait(Connection::TimePoint::max());
    }
  }
  if (generation->failure()) {
    co_return co_await ReplyError(request, ErrorOf(*generation->failure()));
  }
  co_return co_await ReplyPieces(request, whole.Body(), generation->id);
}

// A large answer goes out in parts, so that other connections have their turn.
asio::awaitable<bool> Session::ReplyPieces(const HttpRequest& request,
                                           std::vector<std::string_view> pieces, std::string id) {
  ResponseHead head;
  head.http10 = request.http10;
  head.keep_alive = KeepAlive(request);
  head.content_length = 0;
  for (const std::string_view piece : pieces) *head.content_length += piece.size();
  head.more.emplace_back("X-Request-Id", std::move(id));
  std::string bytes = HeadBytes(head);
  for (std::string_view piece : pieces) {
    while (!piece.empty()) {
      const size_t room = kMaxBytesAtOnce - std::min(kMaxBytesAtOnce, bytes.size());
      bytes += piece.substr(0, room);
      piece.remove_prefix(std::min(piece.size(), room));
      if (bytes.size() < kMaxBytesAtOnce) continue;
      if (!co_await connection_->Write(bytes, /*while_there=*/false)) co_return false;
      bytes.clear();
      co_await asio::post(asio::use_awaitable);
    }
  }
  const bool sent = co_await connection_->Write(bytes, /*while_there=*/false);
  co_return sent&& head.keep_alive;
}

asio::awaitable<bool> Session::ReplyEvents(HttpRequest request, Generation* generation) {
  EventWriter writer(&generation->shape);
  ResponseHead head;
  head.content_type = "text/event-stream";
  head.http10 = request.http10;
  head.keep_alive = KeepAlive(request) && !request.http10;
  head.more = {{"Cache-Control", "no-cache"}, {"X-Request-Id", generation->id}};
  bool begun = false;  // the head is sent, and with it the status
  bool over = false;
  while (!over) {
    if (connection_->ended()) co_return false;
    std::string events;
    const bool some = generation->Drain([&](size_t prompt, const v1::GenerateResponse& message) {
      writer.Append(prompt, message, &events);
      return events.size() < kMaxBytesAtOnce;
    });
    over = generation->failure() || generation->done();
    if (generation->failure() && !begun) {
      co_return co_await ReplyError(request, ErrorOf(*generation->failure()));
    }
    if (generation->failure()) {
      EventWriter::AppendError(ErrorBody(ErrorOf(*generation->failure())), &events);
    } else if (over) {
      writer.AppendEnd(&events);
    }
    if (events.empty()) {
      if (some) {
        co_await asio::post(asio::use_awaitable);  // others' turn
      } else {
        co_await connection_->Wait(Connection::TimePoint::max());
      }
      continue;
    }
    std::string bytes = begun ? "" : HeadBytes(head);
    begun = true;
    bytes += Frame(events, request.http10);
    if (over) bytes += LastFrame(request.http10);
    if (!co_await connection_->Write(bytes, /*while_there=*/true)) co_return false;
  }
  co_return head.keep_alive;
}

}  // namespace latentd
