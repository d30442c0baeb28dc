// Doubles of what stands behind the HTTP door.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/errors.h"
#include "server/metrics.h"
#include "server/service.h"

namespace latentd {

// The test's side of one Generate call. Any thread.
class FakeCall {
 public:
  explicit FakeCall(v1::GenerateRequest request, CallContext context)
      : request(std::move(request)), context(std::move(context)) {}

  // From a message in protobuf's text format.
  void Send(const std::string& text);
  void Send(v1::GenerateResponse message);
  void End(absl::Status status = absl::OkStatus());
  // Blocks until the door has cancelled the stream or dropped it.
  void AwaitCancelled();
  // Blocks until the door took every message sent so far.
  void AwaitTaken();
  bool cancelled() const;
  size_t num_waiting() const;

  const v1::GenerateRequest request;
  const CallContext context;

 private:
  friend class FakeStream;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<GenerateStream::Item> items_;
  std::function<void()> wake_;
  bool cancelled_ = false;
};

// Thread-safe. Refuses or accepts as told; accepted calls are answered by the test.
class FakeService final : public Service {
 public:
  void Generate(v1::GenerateRequest request, CallContext context,
                Callback<std::shared_ptr<GenerateStream>> done) override;
  void GenerateAll(std::vector<v1::GenerateRequest> requests, CallContext context,
                   Callback<std::vector<std::shared_ptr<GenerateStream>>> done) override;
  void Score(v1::ScoreRequest, CallContext context,
             Callback<std::shared_ptr<ScoreStream>> done) override;
  void Tokenize(v1::TokenizeRequest request, CallContext context,
                Callback<v1::TokenizeResponse> done) override;
  void Detokenize(v1::DetokenizeRequest request, Callback<v1::DetokenizeResponse> done) override;
  v1::ListModelsResponse ListModels() const override;
  absl::StatusOr<v1::Model> GetModel(std::string_view id) const override;
  v1::Status GetStatus() const override { return {}; }
  v1::CacheStats GetCacheStats() const override { return {}; }
  v1::FlushCacheResponse FlushCache(const v1::FlushCacheRequest&) override { return {}; }
  void Drain() override { is_draining = true; }
  bool draining() const override { return is_draining; }
  bool live() const override { return is_live; }
  int64_t InFlight() const override { return 0; }
  void OnDrained(std::function<void()>) override {}
  void CutOff() override {}

  // The next accepted call; blocks until there is one.
  std::shared_ptr<FakeCall> NextCall();

  // A call whose answer is held back. Running it answers, on the caller's thread.
  struct Held {
    CallContext context;
    std::function<void()> answer;
    void operator()() const { answer(); }
  };
  // With `hold`, the next of them; blocks until there is one.
  Held NextHeld();

  // Set before the door starts.
  std::function<absl::Status(const v1::GenerateRequest&)> check;  // empty: everything is accepted
  std::function<void(FakeCall*)> answer;  // on the door's thread; empty: the test answers
  bool elastic = false;
  bool hold = false;  // accepted calls, but those for Detokenize and models, wait for NextHeld
  std::atomic<bool> is_draining{false}, is_live{true};

 private:
  // Runs `answer`, or holds it back.
  void Answer(CallContext context, std::function<void()> answer);

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<FakeCall>> calls_;
  std::deque<Held> held_;
};

class FakeMetrics final : public Metrics {
 public:
  void RequestDone(const RequestRecord&) override {}
  void Refused(Refusal reason) override;
  void Tokens(uint64_t, uint64_t) override {}
  void TimeToFirstToken(double) override {}
  void InterTokenLatency(double) override {}
  void Step(const StepReport&) override {}
  std::string Exposition() override { return "latentd_up 1\n"; }

  int refused(Refusal reason) const;
  int refused() const;  // of any reason

 private:
  mutable std::mutex mutex_;
  std::map<Refusal, int> refused_;
};

}  // namespace latentd
