#include "engine/cuda/device_sampler.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include "engine/cuda/activations.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

constexpr int64_t kRowBytes = sizeof(cuda::SamplerRow);
constexpr int64_t kResultBytes =
    sizeof(cuda::SampledRow) + kMaxTopLogprobs * sizeof(cuda::TopLogit);

int64_t InBytes(const StepLimits& limits) {
  return limits.max_sequences * kRowBytes + limits.draw_list_bytes;
}
int64_t OutBytes(const StepLimits& limits) { return limits.max_sequences * kResultBytes; }

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

// Rows come first, whose 8 bytes of alignment are the largest, and every list is a multiple of 4
// bytes, as its own are.
template <typename T>
const T* DeviceSampler::Put(const std::vector<T>& list) {
  static_assert(alignof(T) <= sizeof(uint32_t) || std::is_same_v<T, cuda::SamplerRow>);
  const size_t at = used_;
  used_ += list.size() * sizeof(T);
  LATENTD_CHECK(used_ <= host_in_.bytes());
  std::copy(list.begin(), list.end(), reinterpret_cast<T*>(host_in_.data() + at));
  return reinterpret_cast<const T*>(pieces_.in + at);
}

void DeviceSampler::Send(CUstream_st* stream) {
  batch_.Clear();
  for (const WantedToken& token : wanted_) {
    batch_.Add(*token.choice, token.top_logprobs, token.mask);
  }
  used_ = 0;
  auto* const sampled = reinterpret_cast<cuda::SampledRow*>(pieces_.out);
  args_ = {.logits = {},
           .rows = Put(batch_.rows),
           .uses = Put(batch_.uses),
           .biases = Put(batch_.biases),
           .masked = Put(batch_.masked),
           .allowed = Put(batch_.allowed),
           .adjusted = pieces_.adjusted,
           .sampled = sampled,
           .top = reinterpret_cast<cuda::TopLogit*>(sampled + wanted_.size()),
           .max_top = batch_.max_top};
  cuda::CopyToDevice(stream, pieces_.in, host_in_.data(), used_);
}

void DeviceSampler::Draw(CUstream_st* stream, int64_t first, MatrixView<const float> logits) {
  LATENTD_CHECK(logits.rows <= kLogitsTile && logits.cols == vocab_ &&
                first + logits.rows <= static_cast<int64_t>(wanted_.size()));
  cuda::SamplerArgs args = args_;
  args.logits = logits;
  args.rows += first;
  args.sampled += first;
  args.top += static_cast<size_t>(first) * NumTop();
  cuda::Sample(stream, args);
}

void DeviceSampler::Fetch(CUstream_st* stream) {
  const size_t row_bytes = sizeof(cuda::SampledRow) + NumTop() * sizeof(cuda::TopLogit);
  cuda::CopyToHost(stream, host_out_.data(), pieces_.out, wanted_.size() * row_bytes);
}

absl::StatusOr<DrawnToken> DeviceSampler::Token(size_t number) const {
  const auto* const sampled = reinterpret_cast<const cuda::SampledRow*>(host_out_.data());
  const absl::StatusOr<uint32_t> token = TokenOf(sampled[number]);
  if (!token.ok()) return token.status();
  DrawnToken drawn{.token = *token, .logprobs = {}};
  if (const std::optional<uint32_t> num_top = wanted_[number].top_logprobs) {
    const auto* const top = reinterpret_cast<const cuda::TopLogit*>(sampled + wanted_.size());
    const auto count = std::min<size_t>(*num_top, static_cast<size_t>(vocab_));
    drawn.logprobs = LogprobsOf(sampled[number], {top + number * NumTop(), count});
  }
  return drawn;
}

}  // namespace latentd
