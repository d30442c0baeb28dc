#include "engine/admissions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/mailbox.h"
#include "engine/request.h"
#include "kernels/core/check.h"

namespace latentd {

absl::Status Admissions::CheckRoomLocked() const {
  const auto full = [](int64_t waiting, const char* what, int64_t max) {
    return absl::ResourceExhaustedError(absl::StrCat("the server is full: ", waiting, " ", what,
                                                     " are waiting, and at most ", max,
                                                     " may; try again later"));
  };
  if (waiting_requests_ >= max_requests_) return full(waiting_requests_, "requests", max_requests_);
  if (waiting_tokens_ >= max_tokens_) return full(waiting_tokens_, "prompt tokens", max_tokens_);
  return absl::OkStatus();
}

absl::Status Admissions::CheckRoom() const {
  const std::lock_guard lock(mutex_);
  return CheckRoomLocked();
}

absl::Status Admissions::Admit(std::shared_ptr<Request> request) {
  const std::lock_guard lock(mutex_);
  if (draining_) return absl::UnavailableError("the server is draining and takes no new requests");
  if (absl::Status status = CheckRoomLocked(); !status.ok()) return status;
  ++waiting_requests_;
  waiting_tokens_ += request->prompt_tokens();
  requests_.insert(request.get());
  Mailbox& mailbox = *request->mailbox;
  mailbox.Submit(std::move(request));
  return absl::OkStatus();
}

void Admissions::Start(const Request& request) {
  const std::lock_guard lock(mutex_);
  --waiting_requests_;
  waiting_tokens_ -= request.prompt_tokens();
}

void Admissions::End(Request* request, bool started) {
  const std::lock_guard lock(mutex_);
  LATENTD_CHECK(requests_.erase(request) == 1);
  if (started) return;
  --waiting_requests_;
  waiting_tokens_ -= request->prompt_tokens();
}

int64_t Admissions::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_requests_;
}

int64_t Admissions::in_flight() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(requests_.size());
}

void Admissions::Drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

void Admissions::AddDrainedCallback(std::function<void()> callback) {
  const std::lock_guard lock(mutex_);
  drained_.push_back(std::move(callback));
}

std::vector<std::function<void()>> Admissions::TakeDrained() {
  const std::lock_guard lock(mutex_);
  if (!draining_ || !requests_.empty()) return {};
  return std::exchange(drained_, {});
}

void Admissions::CondemnAll() {
  const std::lock_guard lock(mutex_);
  for (Request* request : requests_) {
    request->condemned = true;
    request->RaiseAllFlags();
  }
}

}  // namespace latentd
