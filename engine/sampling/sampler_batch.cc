#include "engine/sampling/sampler_batch.h"

#include <algorithm>

#include "engine/sampling/row_scan.h"
#include "engine/sampling/sampler.h"
#include "kernels/core/check.h"
#include "kernels/sampling.h"

namespace latentd {
namespace {

uint32_t SizeOf(const auto& list) { return static_cast<uint32_t>(list.size()); }

}  // namespace

void SamplerBatch::Clear() {
  rows.clear();
  uses.clear();
  biases.clear();
  masked.clear();
  allowed.clear();
  max_top = -1;
}

void SamplerBatch::Add(const ChoiceState& choice, std::optional<uint32_t> num_top,
                       std::span<const uint32_t> mask) {
  const SamplingParams& params = choice.params();
  cuda::SamplerRow row;
  row.seed = params.seed;
  row.position = choice.num_generated();
  row.choice = choice.choice();
  row.temperature = params.temperature;
  row.top_k = params.top_k;
  row.top_p = params.top_p;
  row.min_p_bound = MinPBound(params.min_p);
  row.repetition_penalty = params.repetition_penalty;
  row.presence_penalty = params.presence_penalty;
  row.frequency_penalty = params.frequency_penalty;
  row.uses = {SizeOf(uses), SizeOf(choice.seen())};
  for (const uint32_t token : choice.seen()) uses.push_back({token, choice.generated(token)});
  row.biases = {SizeOf(biases), SizeOf(choice.bias())};
  for (const auto& [token, bias] : choice.bias()) biases.push_back({token, bias});
  row.masked = {SizeOf(masked), SizeOf(choice.masked())};
  masked.insert(masked.end(), choice.masked().begin(), choice.masked().end());
  if (!mask.empty()) {
    LATENTD_CHECK(allowed.size() % mask.size() == 0);
    row.allowed = static_cast<int32_t>(allowed.size() / mask.size());
    allowed.insert(allowed.end(), mask.begin(), mask.end());
  }
  if (num_top) row.num_logprobs = static_cast<int32_t>(*num_top);
  max_top = std::max(max_top, row.num_logprobs);
  rows.push_back(row);
}

absl::StatusOr<uint32_t> TokenOf(const cuda::SampledRow& row) {
  if (row.status == cuda::SampleStatus::kNotANumber) return NotANumberError();
  if (row.status == cuda::SampleStatus::kNothingLeft) return NothingLeftError();
  return row.token;
}

TokenLogprobs LogprobsOf(const cuda::SampledRow& row, std::span<const cuda::TopLogit> top) {
  const double log_sum = LogSumOf(row.max_logit, row.exp_sum);
  TokenLogprobs result;
  result.chosen = {row.token, LogprobOf(row.logit, log_sum), row.rank};
  for (const cuda::TopLogit& entry : top) {
    const auto rank = static_cast<uint32_t>(result.top.size() + 1);
    result.top.push_back({entry.token, LogprobOf(entry.logit, log_sum), rank});
  }
  return result;
}

}  // namespace latentd
