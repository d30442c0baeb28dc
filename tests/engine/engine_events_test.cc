// What the events carry: prompt logprobs, hashes, times; and the steps' reports.
#include <catch2/catch.hpp>

#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

void CheckPromptLogprobs(const FakeModel& model, const EngineRequest& request,
                         const Reader& reader) {
  REQUIRE(reader.prompt.size() == request.prompt.size());
  CHECK_FALSE(reader.prompt[0].logprobs);
  std::vector<uint32_t> before;
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    REQUIRE(reader.prompt[i].token == request.prompt[i]);
    if (i > 0) {
      REQUIRE(reader.prompt[i].logprobs);
      REQUIRE(SameLogprobs(
          *reader.prompt[i].logprobs,
          RawLogprobs(NaiveRow(model, before), request.prompt[i], *request.prompt_top_logprobs)));
    }
    before.push_back(request.prompt[i]);
  }
}

TEST_CASE("Prompt logprobs come once, in order, before any token, from the row before") {
  HarnessOptions options;
  options.engine.scheduler.max_num_seqs = 4;
  options.engine.scheduler.max_num_batched_tokens = GENERATE(5, 40, 512);
  Harness harness(options);
  EngineRequest request = Greedy(11, GENERATE(1, 2, 64, 150));
  request.prompt_top_logprobs = 2;
  request.num_choices = 3;
  request.max_tokens = GENERATE(0U, 4U);
  Reader warm = harness.Submit(Greedy(11, 150));  // leaves reusable blocks of the same prompt
  harness.Settle();
  Reader reader = harness.Submit(request);
  harness.Settle({&reader});  // fails where a token comes before a prompt event
  CheckPromptLogprobs(harness.options.model, request, reader);
  for (uint32_t i = 0; i < 3; ++i) {
    CHECK(reader.choice(i) == NaiveChoice(harness.options.model, request, i));
  }
}

TEST_CASE("A preemption repeats no event") {
  HarnessOptions options;
  options.num_blocks = 4;
  Harness harness(options);
  EngineRequest request = Greedy(12, 60);
  request.prompt_top_logprobs = 0;
  request.max_tokens = 120;
  EngineRequest other = request;
  other.prompt = Prompt(13, 60);
  Reader reader = harness.Submit(request), second = harness.Submit(other);
  harness.Settle({&reader, &second});
  CHECK(harness.loop->Stats().preemptions > 0);
  CheckPromptLogprobs(harness.options.model, request, reader);
  CheckPromptLogprobs(harness.options.model, other, second);
  CHECK(second.choice(0) == NaiveChoice(harness.options.model, other, 0));
}

TEST_CASE("The logits hash is of the rows tokens are drawn from and of the backend alone") {
  const auto run = [](const std::string& backend, int64_t budget, bool prompt_rows, bool company) {
    HarnessOptions options;
    options.engine.backend = backend;
    options.engine.scheduler.max_num_seqs = 4;
    options.engine.scheduler.max_num_batched_tokens = budget;
    Harness harness(options);
    EngineRequest request = Greedy(5, 100);
    request.logits_hash = true;
    if (prompt_rows) request.prompt_top_logprobs = 0;
    std::vector<Reader> others;
    if (company) others.push_back(harness.Submit(Greedy(6, 80)));
    Reader reader = harness.Submit(request);
    harness.Settle();
    reader.Read();
    REQUIRE(reader.choice(0) == NaiveChoice(harness.options.model, request, 0, backend));
    REQUIRE(reader.choice(0).token_hashes.back() == reader.choice(0).hash);
    return reader.choice(0).hash;
  };
  const std::optional<LogitsDigest> hash = run("a", 512, false, false);
  CHECK(hash.has_value());
  CHECK(run("a", 5, true, true) == hash);
  CHECK(run("b", 512, false, false) != hash);
}

TEST_CASE("kEnd tells how long the request waited") {
  HarnessOptions options;
  options.engine.scheduler.max_num_seqs = 1;
  Harness harness(options);
  Reader first = harness.Submit(Greedy(1, 5));
  Reader second = harness.Submit(Greedy(2, 5));
  harness.Settle();
  first.Read();
  second.Read();
  CHECK(first.end->queue_seconds == 0);
  // The first took ten steps of a millisecond: the prompt's and nine more.
  CHECK(second.end->queue_seconds == Approx(0.010));
}

TEST_CASE("A reader is woken when all events of a step are there") {
  Harness harness;
  Reader first = harness.Submit(Greedy(1, 5)), second = harness.Submit(Greedy(2, 5));
  size_t seen = 0;
  first.stream->SetWake([&] {
    second.Read();
    seen = second.num_events;
  });
  harness.Turn();
  CHECK(seen == 1);
}

TEST_CASE("The end of a request does not wait for the step that others are in") {
  bool woken = false, woken_in_step = false;
  HarnessOptions options;
  options.mid_entry = [&](size_t) { woken_in_step = woken; };
  Harness harness(options);
  Reader stays = harness.Submit(Greedy(1, 5)), leaves = harness.Submit(Greedy(2, 5));
  harness.Turn();
  leaves.Read();
  leaves.stream->SetWake([&] { woken = true; });
  leaves.stream->Cancel();
  harness.Turn();
  CHECK(woken_in_step);
}

TEST_CASE("Every step is reported, with decodes and prefills apart") {
  std::vector<StepReport> reports;
  HarnessOptions options;
  options.engine.on_step = [&reports](const StepReport& report) { reports.push_back(report); };
  options.engine.scheduler.max_num_seqs = 4;
  options.engine.scheduler.max_num_batched_tokens = 50;
  Harness harness(options);
  EngineRequest request = Greedy(1, 70);
  request.max_tokens = 3;
  Reader reader = harness.Submit(request);
  harness.Settle();
  REQUIRE(reports.size() == 4);
  CHECK(reports[0].prefill_tokens == 50);
  CHECK(reports[1].prefill_tokens == 20);
  for (const size_t i : {2U, 3U}) {
    CHECK(reports[i].decode_tokens == 1);
    CHECK(reports[i].prefill_tokens == 0);
    CHECK(reports[i].num_entries == 1);
  }
  CHECK(reports[0].seconds == Approx(0.001));
  CHECK(harness.loop->Stats().steps == 4);
  CHECK(harness.loop->Stats().layers_done == 4);
}

}  // namespace
}  // namespace latentd
