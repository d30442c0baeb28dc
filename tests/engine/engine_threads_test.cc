// The engine on its own thread, under readers that come, go and dawdle. No sleeps: whoever waits is
// woken.
#include <algorithm>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

// Shared with the wake, which may outlive the reader's interest.
struct Bell {
  std::mutex mutex;
  std::condition_variable rung;
  bool ringing = false;

  void Ring() {
    const std::lock_guard lock(mutex);
    ringing = true;
    rung.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex);
    rung.wait(lock, [this] { return ringing; });
    ringing = false;
  }
};

struct Outcome {
  std::vector<std::vector<uint32_t>> tokens;  // by choice
  std::optional<absl::Status> end;            // absent: the stream was dropped
};

// Reads to the end, or does something rash after `patience` events.
Outcome ReadStream(std::shared_ptr<TokenStream> stream, uint32_t num_choices, uint64_t rashness,
                   size_t patience) {
  auto bell = std::make_shared<Bell>();
  stream->SetWake([bell] { bell->Ring(); });
  Outcome outcome;
  outcome.tokens.resize(num_choices);
  for (size_t events = 0;;) {
    std::optional<TokenEvent> event = stream->TryPop();
    if (!event) {
      bell->Wait();
      continue;
    }
    if (event->kind == TokenEvent::Kind::kToken)
      outcome.tokens[event->choice].push_back(event->token);
    if (event->kind == TokenEvent::Kind::kEnd) {
      outcome.end = event->status;
      return outcome;
    }
    if (++events != patience) continue;
    if (rashness % 8 == 0) return outcome;
    if (rashness % 8 == 1) stream->Cancel();
    if (rashness % 8 == 2) stream->FinishChoice(0);
  }
}

bool IsPrefix(const std::vector<uint32_t>& part, const std::vector<uint32_t>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

// What is wrong with an outcome, or nothing.
std::string Judge(const EngineRequest& request, uint64_t rashness, const Outcome& outcome) {
  const bool cancelled = outcome.end && outcome.end->code() == absl::StatusCode::kCancelled;
  if (outcome.end && !outcome.end->ok() && !(cancelled && rashness % 8 == 1)) {
    return std::string(outcome.end->message());
  }
  for (uint32_t i = 0; i < request.num_choices; ++i) {
    const std::vector<uint32_t> naive = NaiveChoice(FakeModel(), request, i).tokens;
    const bool whole = outcome.end && !cancelled && !(rashness % 8 == 2 && i == 0);
    if (whole ? outcome.tokens[i] != naive : !IsPrefix(outcome.tokens[i], naive)) {
      return "choice " + std::to_string(i) + " is wrong";
    }
  }
  return "";
}

TEST_CASE("Many clients on many threads each get their own answer") {
  auto pool = BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), 24).value();
  FakeExecutor executor(pool.get(), {});
  EngineOptions options;
  options.queue_events = 6;
  options.max_waiting_requests = 5;
  options.scheduler.max_num_seqs = 8;
  options.scheduler.max_num_batched_tokens = 80;
  auto engine = Engine::Start(options, &executor, pool.get(), Clock::Steady());

  std::atomic<int> refused{0};
  const auto client = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::string> faults;
    for (int i = 0; i < 40; ++i) {
      const EngineRequest request = Varied(random() % 50);
      const uint64_t rashness = random();
      auto stream = engine->Submit(request);
      if (!stream.ok()) {
        if (stream.status().code() != absl::StatusCode::kResourceExhausted) {
          faults.push_back(std::string(stream.status().message()));
        }
        ++refused;
        continue;
      }
      const Outcome outcome =
          ReadStream(*std::move(stream), request.num_choices, rashness, 1 + random() % 30);
      if (std::string fault = Judge(request, rashness, outcome); !fault.empty()) {
        faults.push_back(fault);
      }
      if (i % 10 == 0) engine->FlushCache(nullptr);
      if (engine->Stats().requests_waiting > 5) faults.push_back("too many wait");
    }
    return faults;
  };
  std::vector<std::future<std::vector<std::string>>> clients;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    clients.push_back(std::async(std::launch::async, client, seed));
  }
  for (auto& running : clients) CHECK(running.get() == std::vector<std::string>{});

  std::promise<void> drained;
  engine->OnDrained([&drained] { drained.set_value(); });
  engine->Drain();
  drained.get_future().get();
  CHECK(engine->InFlight() == 0);
  engine->FlushCache(nullptr);
  engine.reset();
  CHECK(pool->num_free() == 24);
}

TEST_CASE("Destroying the engine ends what is left; streams may outlive it") {
  auto pool = BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), 24).value();
  FakeExecutor executor(pool.get(), {});
  EngineOptions options;
  options.queue_events = 2;
  auto engine = Engine::Start(options, &executor, pool.get(), Clock::Steady());
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (uint64_t i = 0; i < 4; ++i) {
    EngineRequest request = Greedy(i, 50);
    request.max_tokens = 500;
    streams.push_back(engine->Submit(request).value());
  }
  streams.push_back(nullptr);
  engine.reset();
  streams.pop_back();
  for (const auto& stream : streams) {
    std::optional<TokenEvent> last, event;
    while ((event = stream->TryPop())) last = std::move(event);
    REQUIRE(last);
    CHECK(last->kind == TokenEvent::Kind::kEnd);
    CHECK(last->status.code() == absl::StatusCode::kCancelled);
    stream->Cancel();
  }
  CHECK(pool->num_free() == 24);
}

TEST_CASE("An idle engine wakes for a deadline of a paused request by itself") {
  auto pool = BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), 24).value();
  FakeExecutor executor(pool.get(), {});
  EngineOptions options;
  options.queue_events = 2;
  auto engine = Engine::Start(options, &executor, pool.get(), Clock::Steady());
  EngineRequest request = Greedy(1, 50);
  request.max_tokens = 500;
  request.deadline = Clock::Steady()->Now() + std::chrono::milliseconds(50);
  auto stream = engine->Submit(request).value();
  std::promise<void> drained;
  engine->OnDrained([&drained] { drained.set_value(); });
  engine->Drain();
  drained.get_future().get();  // nobody reads, posts or cancels
  std::optional<TokenEvent> last, event;
  while ((event = stream->TryPop())) last = std::move(event);
  REQUIRE(last);
  CHECK(last->status.code() == absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace latentd
