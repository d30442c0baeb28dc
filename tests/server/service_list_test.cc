// Lists of prompts: all are started or none.
#include <catch2/catch.hpp>
#include <future>
#include <string>
#include <vector>

#include "server/errors.h"
#include "tests/server/service_fixture.h"

namespace latentd {
namespace {

using Fixture = testing::ServiceFixture;
using testing::TextPrompt;
using Streams = std::vector<std::shared_ptr<GenerateStream>>;

std::future<absl::StatusOr<Streams>> Start(Fixture* f, std::vector<v1::GenerateRequest> list) {
  CallContext context;
  context.prompt_list = true;
  auto answer = std::make_shared<std::promise<absl::StatusOr<Streams>>>();
  f->service().GenerateAll(std::move(list), context,
                           [answer](auto streams) { answer->set_value(std::move(streams)); });
  return answer->get_future();
}

v1::GenerateRequest Ids(std::vector<uint32_t> ids) {
  v1::GenerateRequest request;
  request.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  return request;
}

TEST_CASE("a list starts in order") {
  Fixture f;
  const auto streams = Start(&f, {TextPrompt("a"), TextPrompt("b")}).get();
  REQUIRE(streams.ok());
  CHECK(streams->size() == 2);
  REQUIRE(f.engine.requests.size() == 2);
  CHECK(f.engine.requests[0].prompt == testing::WithBos("a"));
  CHECK(f.engine.requests[1].prompt == testing::WithBos("b"));
}

TEST_CASE("a list with one bad prompt reaches no engine, is one refusal, and says which prompt") {
  Fixture f;
  const auto refused = [&f](std::vector<v1::GenerateRequest> list) {
    const absl::Status status = Start(&f, std::move(list)).get().status();
    CHECK(f.engine.requests.empty());
    CHECK(f.metrics.refusals == std::vector<Refusal>{Refusal::kInvalid});
    CHECK(f.metrics.reasons.empty());
    f.metrics.refusals.clear();
    return status;
  };
  const auto too_long = refused({TextPrompt("a"), TextPrompt(std::string(64, 'x'))});
  CHECK(DetailOf(too_long).param() == "prompt[1]");
  CHECK(DetailOf(too_long).code() == "context_length_exceeded");
  CHECK(std::string(too_long.message()).rfind("prompt[1]: the maximum context length is 64", 0) ==
        0);
  const auto bad_id = refused({Ids({1}), Ids({1, 99999})});
  CHECK(DetailOf(bad_id).param() == "prompt[1][1]");
  CHECK(std::string(bad_id.message()).rfind("prompt[1][1] must be ", 0) == 0);
  v1::GenerateRequest hot = TextPrompt("a");
  hot.mutable_sampling()->set_temperature(-1);
  CHECK(DetailOf(refused({hot, hot})).param() == "temperature");
}

TEST_CASE("of lists that come at once, those that fit are started whole") {
  constexpr size_t kRoom = 5, kList = 2, kLists = 3;
  Fixture f;
  f.parts.preprocess_threads = kLists;
  size_t waiting = 0;  // the service lets one list at a time to the engine
  f.engine.on_submit = [&](std::shared_ptr<testing::FakeTokenStream> stream) {
    stream->on_cancel = [&] {
      if (--waiting < kRoom) f.engine.submit_status = absl::OkStatus();
    };
    if (++waiting >= kRoom) f.engine.submit_status = absl::ResourceExhaustedError("full");
  };
  std::vector<std::future<absl::StatusOr<Streams>>> lists;
  for (size_t i = 0; i < kLists; ++i) {
    lists.push_back(Start(&f, std::vector<v1::GenerateRequest>(kList, TextPrompt("a"))));
  }
  std::vector<Streams> started;
  for (auto& list : lists) {
    absl::StatusOr<Streams> streams = list.get();
    if (streams.ok()) {
      CHECK(streams->size() == kList);
      started.push_back(*std::move(streams));
    } else {
      CHECK(streams.status().code() == absl::StatusCode::kResourceExhausted);
    }
  }
  CHECK(started.size() == 2);
  CHECK(waiting == 2 * kList);  // the third list's first prompt was taken back
  CHECK(f.metrics.refusals == std::vector<Refusal>{Refusal::kFull});
  CHECK(f.metrics.reasons.empty());
}

}  // namespace
}  // namespace latentd
