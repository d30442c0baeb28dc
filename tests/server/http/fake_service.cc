#include "tests/server/http/fake_service.h"

#include <google/protobuf/text_format.h>

#include <stdexcept>
#include <utility>

namespace latentd {

// The door's side of a FakeCall.
class FakeStream final : public GenerateStream {
 public:
  explicit FakeStream(std::shared_ptr<FakeCall> call) : call_(std::move(call)) {}
  ~FakeStream() override { Cancel(); }

  Item TryNext() override {
    const std::lock_guard lock(call_->mutex_);
    if (call_->items_.empty()) return {};
    Item item = std::move(call_->items_.front());
    call_->items_.pop_front();
    if (item.ended) ended_ = true;
    call_->changed_.notify_all();
    return item;
  }
  void SetWake(std::function<void()> wake) override {
    const std::lock_guard lock(call_->mutex_);
    call_->wake_ = std::move(wake);
    if (!call_->items_.empty()) call_->wake_();
  }
  void Cancel() override {
    const std::lock_guard lock(call_->mutex_);
    if (ended_) return;
    call_->cancelled_ = true;
    call_->changed_.notify_all();
  }

 private:
  const std::shared_ptr<FakeCall> call_;
  bool ended_ = false;
};

void FakeCall::Send(const std::string& text) {
  v1::GenerateResponse message;
  if (!google::protobuf::TextFormat::ParseFromString(text, &message)) {
    throw std::runtime_error("bad message: " + text);
  }
  Send(std::move(message));
}

void FakeCall::Send(v1::GenerateResponse message) {
  const std::lock_guard lock(mutex_);
  items_.push_back({std::move(message), std::nullopt});
  if (wake_) wake_();
}

void FakeCall::End(absl::Status status) {
  const std::lock_guard lock(mutex_);
  items_.push_back({std::nullopt, std::move(status)});
  if (wake_) wake_();
}

void FakeCall::AwaitCancelled() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return cancelled_; });
}

void FakeCall::AwaitTaken() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return items_.empty(); });
}

bool FakeCall::cancelled() const {
  const std::lock_guard lock(mutex_);
  return cancelled_;
}

size_t FakeCall::num_waiting() const {
  const std::lock_guard lock(mutex_);
  return items_.size();
}

void FakeService::Generate(v1::GenerateRequest request, CallContext context,
                           Callback<std::shared_ptr<GenerateStream>> done) {
  GenerateAll({std::move(request)}, std::move(context), [done = std::move(done)](auto streams) {
    if (!streams.ok()) return done(streams.status());
    done(std::move(streams->front()));
  });
}

void FakeService::GenerateAll(std::vector<v1::GenerateRequest> requests, CallContext context,
                              Callback<std::vector<std::shared_ptr<GenerateStream>>> done) {
  if (is_draining) return done(Draining());
  std::vector<std::shared_ptr<FakeCall>> calls;
  for (v1::GenerateRequest& request : requests) {
    if (check) {
      if (absl::Status status = check(request); !status.ok()) return done(status);
    }
    calls.push_back(std::make_shared<FakeCall>(std::move(request), context));
    if (answer) answer(calls.back().get());
  }
  {
    const std::lock_guard lock(mutex_);
    calls_.insert(calls_.end(), calls.begin(), calls.end());
  }
  arrived_.notify_all();
  Answer(std::move(context), [done = std::move(done), calls] {
    std::vector<std::shared_ptr<GenerateStream>> streams;
    for (const auto& call : calls) streams.push_back(std::make_shared<FakeStream>(call));
    done(std::move(streams));
  });
}

void FakeService::Answer(CallContext context, std::function<void()> answer) {
  if (!hold) return answer();
  {
    const std::lock_guard lock(mutex_);
    held_.push_back({std::move(context), std::move(answer)});
  }
  arrived_.notify_all();
}

void FakeService::Score(v1::ScoreRequest, CallContext context,
                        Callback<std::shared_ptr<ScoreStream>> done) {
  Answer(std::move(context),
         [done = std::move(done)] { done(absl::UnimplementedError("not over HTTP")); });
}

void FakeService::Tokenize(v1::TokenizeRequest request, CallContext context,
                           Callback<v1::TokenizeResponse> done) {
  if (request.text() == "refuse") return done(BadField("prompt", "prompt is refused"));
  v1::TokenizeResponse response;  // one token a byte
  response.set_max_context(4096);
  for (const char c : request.text()) {
    response.add_token_ids(static_cast<unsigned char>(c));
    response.add_tokens(std::string(1, c));
  }
  if (request.has_chat()) response.add_token_ids(1000);
  Answer(std::move(context), [done = std::move(done), response] { done(response); });
}

void FakeService::Detokenize(v1::DetokenizeRequest request, Callback<v1::DetokenizeResponse> done) {
  v1::DetokenizeResponse response;
  for (const uint32_t id : request.token_ids()) {
    if (id > 255) return done(BadField("tokens[0]", "tokens[0] is beyond the vocabulary"));
    response.mutable_text()->push_back(static_cast<char>(id));
  }
  done(std::move(response));
}

v1::ListModelsResponse FakeService::ListModels() const {
  v1::ListModelsResponse models;
  v1::Model* model = models.add_models();
  model->set_id("org/model");
  model->set_max_context(4096);
  if (elastic) model->mutable_elastic()->add_q_ranks(64);
  return models;
}

absl::StatusOr<v1::Model> FakeService::GetModel(std::string_view id) const {
  if (id != "org/model") return UnknownModel(id, "org/model");
  return ListModels().models(0);
}

std::shared_ptr<FakeCall> FakeService::NextCall() {
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [this] { return !calls_.empty(); });
  auto call = std::move(calls_.front());
  calls_.pop_front();
  return call;
}

FakeService::Held FakeService::NextHeld() {
  std::unique_lock lock(mutex_);
  arrived_.wait(lock, [this] { return !held_.empty(); });
  Held next = std::move(held_.front());
  held_.pop_front();
  return next;
}

void FakeMetrics::Refused(Refusal reason) {
  const std::lock_guard lock(mutex_);
  ++refused_[reason];
}

int FakeMetrics::refused(Refusal reason) const {
  const std::lock_guard lock(mutex_);
  const auto found = refused_.find(reason);
  return found == refused_.end() ? 0 : found->second;
}

int FakeMetrics::refused() const {
  const std::lock_guard lock(mutex_);
  int sum = 0;
  for (const auto& entry : refused_) sum += entry.second;
  return sum;
}

}  // namespace latentd
