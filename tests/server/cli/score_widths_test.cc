// ScoreAtWidths through the real service, over an engine whose streams end in another order.
#include <catch2/catch.hpp>
#include <deque>

#include "server/cli/score_windows.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/fake_engine.h"

namespace latentd {
namespace {

using testing::FakeTokenStream;
using testing::kBos;

// Different for every token, place and width, and exact in double sums of a few dozen.
float LogprobOf(const EngineRequest& request, size_t i) {
  return -static_cast<float>(request.prompt[i] * 1000 + i * 10 + request.width_kv) / 1024;
}

void Answer(FakeTokenStream& stream, const EngineRequest& request) {
  stream.FirstPromptToken(request.prompt[0]);
  for (size_t i = 1; i < request.prompt.size(); ++i) {
    stream.Scored(TokenEvent::Kind::kPrompt, request.prompt[i], LogprobOf(request, i));
  }
  stream.Finish(EngineFinish::kLength);
  stream.End();
}

struct Fixture {
  Fixture() {
    model.config.family = "latent_mla";
    model.config.vocab_size = testing::kVocabSize;
    model.config.q_lora_rank = 192;
    model.config.kv_lora_rank = 128;
    model.config.elastic = ElasticConfig{{96, 192}, {64, 128}, false, true};
    parts.model = &model;
    parts.tokenizer = tokenizer.get();
    parts.engine = &engine;
    parts.metrics = &metrics;
    parts.clock = &clock;
    parts.model_id = "demo";
    parts.max_context = 64;
    parts.random_seed = [] { return uint64_t{1}; };
    // Streams are answered in groups of up to `group`, the last first.
    engine.on_submit = [this](std::shared_ptr<FakeTokenStream> stream) {
      waiting.push_back({std::move(stream), engine.requests.size() - 1});
      most_waiting = std::max(most_waiting, waiting.size());
      if (waiting.size() < group && engine.requests.size() < expected) return;
      for (; !waiting.empty(); waiting.pop_back()) {
        const EngineRequest& request = engine.requests[waiting.back().second];
        if (request.prompt.back() == failing_token) {
          waiting.back().first->End(absl::DeadlineExceededError("late"));
        } else {
          Answer(*waiting.back().first, request);
        }
      }
    };
    service = Service::Create(parts);
  }

  ScoredText Text(std::string_view bytes, size_t window, size_t stride) {
    ScoredText text;
    text.ids = testing::Bytes(bytes);
    text.bos = kBos;
    text.windows = PlanWindows(text.ids.size(), window, stride);
    return text;
  }
  absl::StatusOr<std::vector<TextScore>> Score(
      const ScoredText& text, const std::vector<std::optional<v1::Width>>& widths) {
    expected = text.windows.size() * widths.size();
    return ScoreAtWidths(*service, text, widths, false, [this](uint64_t done, uint64_t total) {
      CHECK(done == progress + 1);
      progress = done;
      CHECK(total == expected);
    });
  }

  Model model;
  std::unique_ptr<Tokenizer> tokenizer = testing::MakeByteTokenizer();
  testing::FakeEngine engine;
  testing::CountingMetrics metrics;
  testing::FakeClock clock;
  ServiceParts parts;
  std::vector<std::pair<std::shared_ptr<FakeTokenStream>, size_t>> waiting;
  size_t group = 4, expected = 0, most_waiting = 0;
  uint32_t failing_token = 0;
  uint64_t progress = 0;
  std::unique_ptr<Service> service;
};

v1::Width MakeWidth(uint32_t q, uint32_t kv) {
  v1::Width width;
  width.set_q(q);
  width.set_kv(kv);
  return width;
}

TEST_CASE("Each token counts once, at its own place, whatever window is done first") {
  Fixture f;
  const ScoredText text = f.Text("abcdefghi", 4, 2);
  const auto scores = f.Score(text, {MakeWidth(96, 64), std::nullopt});
  INFO(scores.status());
  REQUIRE(scores.ok());
  // {0, 0, 4}, {2, 4, 6}, {4, 6, 8}, {5, 8, 9}: places are those behind BOS in the window.
  const size_t places[] = {1, 2, 3, 4, 3, 4, 3, 4, 4};
  const double kv_ranks[] = {64, 128};  // absent: the server's own, which is full here
  for (size_t k = 0; k < 2; ++k) {
    double expected = 0;
    for (size_t i = 0; i < 9; ++i) {
      expected -= (static_cast<double>('a' + i) * 1000 + static_cast<double>(places[i]) * 10 +
                   kv_ranks[k]) /
                  1024;
    }
    CHECK((*scores)[k].logprob == expected);
    CHECK((*scores)[k].scored == 9);
  }
  CHECK(f.progress == 8);
  CHECK(f.most_waiting == 4);
  REQUIRE(f.engine.requests.size() == 8);
  CHECK(f.engine.requests[0].width_q == 96);
  CHECK(f.engine.requests[4].width_q == 192);
  CHECK(f.engine.requests[1].prompt == std::vector<uint32_t>{kBos, 'c', 'd', 'e', 'f'});
}

TEST_CASE("Without BOS the first token of a window that does not overlap is unscored") {
  Fixture f;
  ScoredText text = f.Text("abcdefghi", 4, 4);
  text.bos.reset();
  const auto scores = f.Score(text, {std::nullopt});
  REQUIRE(scores.ok());
  CHECK((*scores)[0].scored == 6);  // of abcd, efgh, i
}

TEST_CASE("A width that the checkpoint does not allow is refused") {
  Fixture f;
  const auto scores = f.Score(f.Text("abc", 4, 4), {MakeWidth(96, 65)});
  CHECK(scores.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(f.engine.requests.empty());
}

TEST_CASE("A failing window ends the sweep and cancels the others") {
  Fixture f;
  f.failing_token = 'f';
  f.group = 3;
  const auto scores = f.Score(f.Text("abcdefghi", 3, 3), {std::nullopt, std::nullopt});
  CHECK(scores.status().code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(f.progress == 0);
  // Three were answered; the fourth was under way. Dropping a stream cancels it.
  REQUIRE(f.waiting.size() == 1);
  CHECK(f.waiting[0].first.use_count() == 1);
}

}  // namespace
}  // namespace latentd
