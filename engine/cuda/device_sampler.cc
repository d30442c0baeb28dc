#include "engine/cuda/device_sampler.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/cuda/activations.h"
#include "engine/cuda/decode_step.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

constexpr int64_t kRowBytes = sizeof(cuda::SamplerRow);
constexpr int64_t kResultBytes =
    sizeof(cuda::SampledRow) + kMaxTopLogprobs * sizeof(cuda::TopLogit);

int64_t MostRows(const StepLimits& limits) {
  return PaddedRows(limits.max_sequences, std::max(limits.max_rows, limits.max_sequences));
}
int64_t RowsBytes(const StepLimits& limits) { return MostRows(limits) * kRowBytes; }
// Masks are whole words, and the lists behind them begin on 8 bytes.
int64_t InBytes(const StepLimits& limits) {
  return RowsBytes(limits) + limits.draw_list_bytes + static_cast<int64_t>(sizeof(uint32_t));
}
int64_t OutBytes(const StepLimits& limits) { return MostRows(limits) * kResultBytes; }

// A graph for each of few numbers, whatever requests ask for.
int32_t PaddedTop(int32_t max_top) {
  constexpr int32_t kOften = 5;
  if (max_top <= 0) return max_top;
  return max_top <= kOften ? kOften : static_cast<int32_t>(kMaxTopLogprobs);
}

// What SamplerBatch::Add lists for it.
int64_t ListBytes(const WantedToken& token) {
  const ChoiceState& choice = *token.choice;
  const size_t bytes = choice.seen().size() * sizeof(cuda::TokenUse) +
                       choice.bias().size() * sizeof(cuda::TokenBias) +
                       (choice.masked().size() + token.mask.size()) * sizeof(uint32_t);
  return static_cast<int64_t>(bytes);
}

}  // namespace

DeviceSampler::Pieces DeviceSampler::Place(int64_t vocab, const StepLimits& limits,
                                           DeviceArena& arena) {
  Pieces pieces;
  pieces.in = arena.Take<std::byte>(InBytes(limits));
  pieces.out = arena.Take<std::byte>(OutBytes(limits));
  pieces.adjusted = arena.Take<float>(kLogitsTile * vocab);
  return pieces;
}

int64_t DeviceSampler::DeviceBytes(int64_t vocab, const StepLimits& limits) {
  DeviceArena arena;
  Place(vocab, limits, arena);
  return static_cast<int64_t>(arena.bytes());
}

DeviceSampler::DeviceSampler(int64_t vocab, const StepLimits& limits)
    : vocab_(vocab),
      limits_(limits),
      host_in_(static_cast<size_t>(InBytes(limits))),
      host_out_(static_cast<size_t>(OutBytes(limits))),
      memory_(static_cast<size_t>(DeviceBytes(vocab, limits))) {
  DeviceArena arena(memory_.data());
  pieces_ = Place(vocab, limits, arena);
}

void DeviceSampler::Clear() {
  wanted_.clear();
  list_bytes_ = 0;
}

bool DeviceSampler::Add(const WantedToken& token) {
  LATENTD_CHECK(token.top_logprobs.value_or(0) <= kMaxTopLogprobs);
  const int64_t bytes = ListBytes(token);
  if (static_cast<int64_t>(wanted_.size()) == limits_.max_sequences ||
      bytes > limits_.draw_list_bytes - list_bytes_) {
    return false;
  }
  list_bytes_ += bytes;
  wanted_.push_back(token);
  return true;
}

template <typename T>
uint32_t DeviceSampler::Put(const std::vector<T>& list) {
  const size_t at = used_ - static_cast<size_t>(RowsBytes(limits_));
  LATENTD_CHECK(at % sizeof(T) == 0);
  const size_t begin = std::exchange(used_, used_ + list.size() * sizeof(T));
  LATENTD_CHECK(used_ <= host_in_.bytes());
  std::copy(list.begin(), list.end(), reinterpret_cast<T*>(host_in_.data() + begin));
  return static_cast<uint32_t>(at / sizeof(T));
}

// All begin at one place, so that kernels get the same pointers at every step: rows say where in it
// theirs are. Masks stand first, as a row names the number of its own.
void DeviceSampler::PutLists() {
  used_ = static_cast<size_t>(RowsBytes(limits_));
  Put(batch_.allowed);
  used_ = (used_ + sizeof(cuda::TokenUse) - 1) / sizeof(cuda::TokenUse) * sizeof(cuda::TokenUse);
  const uint32_t uses = Put(batch_.uses), biases = Put(batch_.biases), masked = Put(batch_.masked);
  for (cuda::SamplerRow& row : batch_.rows) {
    row.uses.first += uses;
    row.biases.first += biases;
    row.masked.first += masked;
  }
}

void DeviceSampler::Send(CUstream_st* stream, int64_t num_rows) {
  LATENTD_CHECK(num_rows <= MostRows(limits_) && num_rows >= static_cast<int64_t>(wanted_.size()));
  batch_.Clear();
  for (const WantedToken& token : wanted_) {
    batch_.Add(*token.choice, token.top_logprobs, token.mask);
  }
  PutLists();
  cuda::SamplerRow cheapest;
  cheapest.temperature = 0;
  num_rows_ = static_cast<size_t>(num_rows);
  batch_.rows.resize(num_rows_, cheapest);
  auto* const rows = reinterpret_cast<cuda::SamplerRow*>(host_in_.data());
  std::copy(batch_.rows.begin(), batch_.rows.end(), rows);
  if (list_bytes_ == 0) used_ = num_rows_ * sizeof(cuda::SamplerRow);
  const std::byte* const lists = pieces_.in + RowsBytes(limits_);
  auto* const sampled = reinterpret_cast<cuda::SampledRow*>(pieces_.out);
  args_ = {.logits = {},
           .rows = reinterpret_cast<const cuda::SamplerRow*>(pieces_.in),
           .uses = reinterpret_cast<const cuda::TokenUse*>(lists),
           .biases = reinterpret_cast<const cuda::TokenBias*>(lists),
           .masked = reinterpret_cast<const uint32_t*>(lists),
           .allowed = reinterpret_cast<const uint32_t*>(lists),
           .adjusted = pieces_.adjusted,
           .sampled = sampled,
           .top = reinterpret_cast<cuda::TopLogit*>(sampled + num_rows_),
           .max_top = PaddedTop(batch_.max_top)};
  cuda::CopyToDevice(stream, pieces_.in, host_in_.data(), used_);
}

void DeviceSampler::Draw(CUstream_st* stream, int64_t first, MatrixView<const float> logits) {
  LATENTD_CHECK(logits.rows <= kLogitsTile && logits.cols == vocab_ &&
                first + logits.rows <= static_cast<int64_t>(num_rows_));
  cuda::SamplerArgs args = args_;
  args.logits = logits;
  args.rows += first;
  args.sampled += first;
  args.top += static_cast<size_t>(first) * NumTop();
  cuda::Sample(stream, args);
}

void DeviceSampler::Fetch(CUstream_st* stream) {
  const size_t count = wanted_.size(), top_bytes = NumTop() * sizeof(cuda::TopLogit);
  const size_t sampled = (top_bytes == 0 ? count : num_rows_) * sizeof(cuda::SampledRow);
  cuda::CopyToHost(stream, host_out_.data(), pieces_.out, sampled + count * top_bytes);
}

absl::StatusOr<DrawnToken> DeviceSampler::Token(size_t number) const {
  const auto* const sampled = reinterpret_cast<const cuda::SampledRow*>(host_out_.data());
  const absl::StatusOr<uint32_t> token = TokenOf(sampled[number]);
  if (!token.ok()) return token.status();
  DrawnToken drawn{.token = *token, .logprobs = {}};
  if (const std::optional<uint32_t> num_top = wanted_[number].top_logprobs) {
    const auto* const top = reinterpret_cast<const cuda::TopLogit*>(sampled + num_rows_);
    const auto count = std::min<size_t>(*num_top, static_cast<size_t>(vocab_));
    drawn.logprobs = LogprobsOf(sampled[number], {top + number * NumTop(), count});
  }
  return drawn;
}

}  // namespace latentd
