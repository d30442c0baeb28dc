// A text longer than the context: consecutive windows, each opened by BOS where the tokenizer adds
// one, the first token of a window unscored; with a stride, windows overlap and only new tokens are
// scored.
#include "server/cli/score_windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <span>

#include "engine/sampling/logits_hash.h"
#include "server/cli/blocking.h"
#include "server/cli/read_file.h"

namespace latentd {
namespace {

// Windows under way at once: the next ones are tokenized, admitted and waiting when one is done.
constexpr size_t kInFlight = 4;

constexpr size_t kMaxTextBytes = size_t{1} << 30;

// One window at one width, from its submission to its last message.
struct Job {
  size_t width = 0;  // index
  ScoreWindow window;
  size_t token = 0;  // the text's token that the next entry belongs to
  std::shared_ptr<ScoreStream> stream;
  TextScore score;
  bool done = false;
};

absl::Status Submit(Service& service, const ScoredText& text, const std::optional<v1::Width>& width,
                    bool logits_hash, Job* job) {
  v1::ScoreRequest request;
  auto* ids = request.mutable_token_ids()->mutable_ids();
  if (text.bos) ids->Add(*text.bos);
  ids->Add(text.ids.begin() + static_cast<std::ptrdiff_t>(job->window.begin),
           text.ids.begin() + static_cast<std::ptrdiff_t>(job->window.end));
  if (width) *request.mutable_width() = *width;
  request.set_logits_hash(logits_hash);
  CallContext context;
  context.received = Clock::Steady()->Now();
  auto stream = WaitFor<std::shared_ptr<ScoreStream>>(
      [&](auto done) { service.Score(std::move(request), context, std::move(done)); });
  if (!stream.ok()) return stream.status();
  job->stream = *std::move(stream);
  // The first token of what was sent has no entry.
  job->token = job->window.begin + (text.bos ? 0 : 1);
  return absl::OkStatus();
}

// Takes what the stream has. An error is the stream's.
absl::Status Take(Job* job) {
  while (!job->done) {
    ScoreStream::Item item = job->stream->TryNext();
    if (item.message) {
      job->score.hash += item.message->logits_hash();
      for (const v1::TokenLogprob& entry : item.message->logprobs()) {
        if (job->token++ < job->window.first_new) continue;
        job->score.logprob += entry.logprob();
        ++job->score.scored;
      }
    }
    if (item.ended) {
      job->done = true;
      return *item.ended;
    }
    if (!item.message) break;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<ScoreWindow> PlanWindows(size_t num_tokens, size_t window, size_t stride) {
  std::vector<ScoreWindow> windows;
  for (size_t first_new = 0; first_new < num_tokens;) {
    const size_t step = first_new == 0 ? window : stride;
    const size_t end = num_tokens - first_new < step ? num_tokens : first_new + step;
    // Windows that need not overlap do not, so that the last one has no more context than others.
    const size_t begin = stride == window ? first_new : end - std::min(end, window);
    windows.push_back({begin, first_new, end});
    first_new = end;
  }
  return windows;
}

std::optional<uint32_t> OpeningToken(const Tokenizer& tokenizer) {
  // A text of its own tells what stands before it from what stands after it; any will do.
  constexpr std::string_view kProbe = "a";
  const auto plain = tokenizer.Encode(kProbe, /*add_special=*/false);
  const auto whole = tokenizer.Encode(kProbe, /*add_special=*/true);
  if (!plain.ok() || !whole.ok() || plain->empty()) return std::nullopt;
  const auto begin = std::search(whole->begin(), whole->end(), plain->begin(), plain->end());
  if (begin == whole->begin() || begin == whole->end()) return std::nullopt;
  return whole->front();
}

absl::StatusOr<ScoredText> PrepareText(Service& service, const std::string& file,
                                       int64_t max_context, std::optional<uint32_t> bos,
                                       int64_t stride) {
  absl::StatusOr<std::string> bytes = ReadWholeFile("file", file, kMaxTextBytes);
  if (!bytes.ok()) return bytes.status();
  ScoredText text;
  text.bos = bos;
  text.window = max_context - (bos ? 1 : 0);
  text.stride = stride == 0 ? text.window : stride;
  if (text.stride < 1 || text.stride > text.window) {
    return absl::InvalidArgumentError(
        fmt::format("--stride needs a number from 1 to the window of {} tokens", text.window));
  }
  v1::TokenizeRequest request;
  request.set_text(*std::move(bytes));
  request.set_add_special_tokens(false);
  auto tokens = WaitFor<v1::TokenizeResponse>(
      [&](auto done) { service.Tokenize(std::move(request), {}, std::move(done)); });
  if (!tokens.ok()) return tokens.status();
  text.ids.assign(tokens->token_ids().begin(), tokens->token_ids().end());
  text.windows = PlanWindows(text.ids.size(), static_cast<size_t>(text.window),
                             static_cast<size_t>(text.stride));
  // Without BOS the first of all tokens has nothing before it.
  if (text.ids.size() < (bos ? 1 : 2) || (!bos && text.window < 2)) {
    return absl::InvalidArgumentError("the text has no token to score");
  }
  return text;
}

absl::StatusOr<std::vector<TextScore>> ScoreAtWidths(
    Service& service, const ScoredText& text, const std::vector<std::optional<v1::Width>>& widths,
    bool logits_hash, const std::function<void(uint64_t done, uint64_t total)>& progress) {
  const size_t total = widths.size() * text.windows.size();
  std::vector<TextScore> scores(widths.size());
  std::vector<RunningSipHash> hashes(widths.size(), RunningSipHash(0, 0));
  const auto signal = std::make_shared<Signal>();
  std::deque<Job> jobs;  // in order; dropping a job cancels its stream
  for (size_t next = 0, done = 0; done < total;) {
    while (next < total && jobs.size() < kInFlight) {
      Job job;
      job.width = next / text.windows.size();
      job.window = text.windows[next % text.windows.size()];
      auto status = Submit(service, text, widths[job.width], logits_hash, &job);
      if (!status.ok()) return status;
      job.stream->SetWake([signal] { signal->Wake(); });
      jobs.push_back(std::move(job));
      ++next;
    }
    for (Job& job : jobs) {
      if (auto status = Take(&job); !status.ok()) return status;
    }
    if (!jobs.front().done) signal->Wait();
    // Added up in order, so that the sum does not depend on which window was done first.
    for (; !jobs.empty() && jobs.front().done; jobs.pop_front()) {
      scores[jobs.front().width].logprob += jobs.front().score.logprob;
      scores[jobs.front().width].scored += jobs.front().score.scored;
      hashes[jobs.front().width].Update(std::as_bytes(std::span(jobs.front().score.hash)));
      progress(++done, total);
    }
  }
  for (size_t i = 0; logits_hash && i < scores.size(); ++i) {
    const LogitsDigest digest = hashes[i].Digest();
    scores[i].hash.assign(digest.begin(), digest.end());
  }
  return scores;
}

std::string DescribeWindows(const ScoredText& text, int64_t scored) {
  return fmt::format("tokens {} scored of {}, window {}, stride {}, windows {}", scored,
                     text.ids.size(), text.window, text.stride, text.windows.size());
}

}  // namespace latentd
