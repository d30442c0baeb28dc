// Sampling fields: ranges and defaults (behaviour.md, "Sampling").
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "server/cat.h"
#include "server/errors.h"
#include "server/validate.h"
#include "server/validate_parts.h"

namespace latentd {
namespace {

// Written so that NaN fails every one.
bool IsNonNegative(float x) { return x >= 0 && std::isfinite(x); }
bool IsPositive(float x) { return x > 0 && std::isfinite(x); }
bool IsShare(float x) { return x >= 0 && x <= 1; }
bool IsPositiveShare(float x) { return x > 0 && x <= 1; }
bool IsPenalty(float x) { return x >= -2 && x <= 2; }
bool IsBias(float x) { return x >= -100 && x <= 100; }

// A field that is in the message, and what it must be.
struct FloatField {
  const char* name;
  bool given;
  float value;
  bool (*ok)(float);
  const char* requirement;
};

absl::Status CheckLogitBias(const google::protobuf::Map<uint32_t, float>& bias,
                            uint32_t vocab_size) {
  // The map has no order: the lowest id is told, so that the message is always the same.
  std::vector<uint32_t> ids;
  for (const auto& entry : bias) ids.push_back(entry.first);
  std::sort(ids.begin(), ids.end());
  for (const uint32_t id : ids) {
    if (id >= vocab_size) {
      return BadField("logit_bias",
                      Cat("logit_bias keys must be token ids below ", vocab_size, ", got ", id));
    }
    if (const float value = bias.at(id); !IsBias(value)) {
      return BadField("logit_bias", Cat("logit_bias[", id, "] must be between -100 and 100, got ",
                                        PrintFloat(value)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSampling(const v1::Sampling& s, uint32_t vocab_size) {
  const FloatField fields[] = {
      {"temperature", s.has_temperature(), s.temperature(), IsNonNegative,
       "a finite number of at least 0"},
      {"top_p", s.has_top_p(), s.top_p(), IsPositiveShare, "above 0 and at most 1"},
      {"min_p", s.has_min_p(), s.min_p(), IsShare, "between 0 and 1"},
      {"repetition_penalty", s.has_repetition_penalty(), s.repetition_penalty(), IsPositive,
       "a finite number above 0"},
      {"presence_penalty", s.has_presence_penalty(), s.presence_penalty(), IsPenalty,
       "between -2 and 2"},
      {"frequency_penalty", s.has_frequency_penalty(), s.frequency_penalty(), IsPenalty,
       "between -2 and 2"},
  };
  for (const FloatField& field : fields) {
    if (field.given && !field.ok(field.value)) {
      return OutOfRange(field.name, field.requirement, PrintFloat(field.value));
    }
  }
  if (s.has_top_k() && s.top_k() < -1) {
    return OutOfRange("top_k", "at least 1, or 0 or -1 for off", Cat(s.top_k()));
  }
  if (s.has_n() && (s.n() < 1 || s.n() > kMaxChoices)) {
    return OutOfRange("n", Cat("between 1 and ", kMaxChoices), Cat(s.n()));
  }
  return CheckLogitBias(s.logit_bias(), vocab_size);
}

SamplingParams ResolveSampling(const v1::Sampling& s, const GenerationDefaults& defaults) {
  SamplingParams params;
  params.temperature = s.has_temperature() ? s.temperature() : defaults.temperature.value_or(1);
  params.top_k = std::max(0, s.has_top_k() ? s.top_k() : defaults.top_k.value_or(0));
  params.top_p = s.has_top_p() ? s.top_p() : defaults.top_p.value_or(1);
  params.min_p = s.has_min_p() ? s.min_p() : defaults.min_p.value_or(0);
  params.repetition_penalty =
      s.has_repetition_penalty() ? s.repetition_penalty() : defaults.repetition_penalty.value_or(1);
  params.presence_penalty = s.presence_penalty();
  params.frequency_penalty = s.frequency_penalty();
  params.seed = s.seed();
  params.logit_bias.insert(s.logit_bias().begin(), s.logit_bias().end());
  return params;
}

}  // namespace latentd
