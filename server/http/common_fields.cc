#include <cmath>

#include "absl/strings/numbers.h"
#include "server/cat.h"
#include "server/errors.h"
#include "server/http/field_table.h"
#include "server/http/fields.h"

namespace latentd {
namespace {

using Draft = GenerateDraft;
using v1::GenerateRequest;
using v1::Sampling;
using v1::Stop;

// Readers for fields that go as they are into one setter of a message.
template <typename T, absl::Status (*Read)(const Json&, std::string_view, T*), auto Part, auto Set>
absl::Status Into(const Json& value, std::string_view name, Draft* draft) {
  T read{};
  if (auto status = Read(value, name, &read); !status.ok()) return status;
  ((draft->shared.*Part)()->*Set)(read);
  return absl::OkStatus();
}
template <typename T, absl::Status (*Read)(const Json&, std::string_view, T*), auto Set>
absl::Status IntoRequest(const Json& value, std::string_view name, Draft* draft) {
  T read{};
  if (auto status = Read(value, name, &read); !status.ok()) return status;
  (draft->shared.*Set)(std::move(read));
  return absl::OkStatus();
}
template <typename T, absl::Status (*Read)(const Json&, std::string_view, T*), auto Member>
absl::Status IntoCall(const Json& value, std::string_view name, Draft* draft) {
  return Read(value, name, &(draft->call.*Member));
}
template <auto Set>
constexpr auto kSamplingFloat = Into<float, ReadFloat, &GenerateRequest::mutable_sampling, Set>;
template <auto Set>
constexpr auto kStopBool = Into<bool, ReadBool, &GenerateRequest::mutable_stop, Set>;
constexpr auto kIgnoredString = Ignored<Draft, std::string, ReadString>;
constexpr auto kIgnoredBool = Ignored<Draft, bool, ReadBool>;

absl::Status ReadMaxTokens(const Json& value, std::string_view name, Draft* draft) {
  return ReadUint32(value, name, &draft->max_tokens.emplace());
}

absl::Status ReadMaxCompletionTokens(const Json& value, std::string_view name, Draft* draft) {
  return ReadUint32(value, name, &draft->max_completion_tokens.emplace());
}

absl::Status ReadStop(const Json& value, std::string_view name, Draft* draft) {
  std::vector<std::string> strings;
  if (auto status = ReadStringOrList(value, name, &strings); !status.ok()) return status;
  for (std::string& s : strings) draft->shared.mutable_stop()->add_strings(std::move(s));
  return absl::OkStatus();
}

absl::Status ReadStopTokenIds(const Json& value, std::string_view name, Draft* draft) {
  std::vector<uint32_t> ids;
  if (auto status = ReadUint32List(value, name, &ids); !status.ok()) return status;
  draft->shared.mutable_stop()->mutable_token_ids()->Add(ids.begin(), ids.end());
  return absl::OkStatus();
}

absl::Status ReadLogitBias(const Json& value, std::string_view name, Draft* draft) {
  if (auto status = NeedObject(value, name); !status.ok()) return status;
  auto* bias = draft->shared.mutable_sampling()->mutable_logit_bias();
  for (const auto& [key, amount] : value.get_ref<const Json::object_t&>()) {
    const std::string entry = Cat(name, "[", ShownName(key), "]");
    uint32_t token = 0;
    // One spelling a token, so that no token has two biases.
    if (!absl::SimpleAtoi(key, &token) || Cat(token) != key) {
      return BadField(entry, Cat("the keys of ", name, " must be token ids, not ", ShownName(key)));
    }
    if (auto status = ReadFloat(amount, entry, &(*bias)[token]); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadStreamOptions(const Json& value, std::string_view name, Draft* draft) {
  static constexpr GenerateField kFields[] = {
      {"include_usage", IntoCall<bool, ReadBool, &GenerateCall::include_usage>},
      {"include_obfuscation", kIgnoredBool},
  };
  if (auto status = NeedObject(value, name); !status.ok()) return status;
  draft->has_stream_options = true;
  return ReadFields<Draft, 1>(value, "stream_options.", {kFields}, *draft->options, draft);
}

absl::Status ReadWidth(const Json& value, std::string_view name, Draft* draft) {
  static constexpr auto kWidth = &GenerateRequest::mutable_width;
  static constexpr GenerateField kFields[] = {
      {"q", Into<uint32_t, ReadUint32, kWidth, &v1::Width::set_q>},
      {"kv", Into<uint32_t, ReadUint32, kWidth, &v1::Width::set_kv>},
  };
  if (auto status = NeedObject(value, name); !status.ok()) return status;
  draft->shared.mutable_width();
  return ReadFields<Draft, 1>(value, "width.", {kFields}, *draft->options, draft);
}

absl::Status ReadTimeout(const Json& value, std::string_view name, Draft* draft) {
  double seconds = 0;
  if (auto status = ReadDouble(value, name, &seconds); !status.ok()) return status;
  if (seconds <= 0) {
    return BadField(name, Cat(name, " must be a number of seconds above 0, got ", DumpJson(value)));
  }
  draft->call.timeout_seconds = seconds;
  return absl::OkStatus();
}

absl::Status ReadBestOf(const Json& value, std::string_view name, Draft*) {
  uint32_t best_of = 0;
  if (auto status = ReadUint32(value, name, &best_of); !status.ok()) return status;
  if (best_of == 1) return absl::OkStatus();
  return BadField(
      name, Cat(name, " must be 1, got ", best_of, ": choices are not ranked; ask for n of them"));
}

absl::Status ReadResponseFormat(const Json& value, std::string_view name, Draft*) {
  if (auto status = NeedObject(value, name); !status.ok()) return status;
  const std::string type_name = Cat(name, ".type");
  const auto type = value.find("type");
  if (type == value.end()) return BadField(type_name, Cat(type_name, " is required"));
  std::string read;
  if (auto status = ReadString(*type, type_name, &read); !status.ok()) return status;
  if (read == "text") return absl::OkStatus();
  return BadField(name,
                  Cat(name, " of type ", ShownName(read), " is not served yet; only text is"));
}

absl::Status ReadTools(const Json& value, std::string_view name, Draft*) {
  if (auto status = NeedArray(value, name); !status.ok()) return status;
  return value.empty() ? absl::OkStatus() : NotServedYet(name);
}

absl::Status ReadToolChoice(const Json& value, std::string_view name, Draft*) {
  if (value == "none") return absl::OkStatus();
  return BadField(name, Cat(name, " must be \"none\": tools is not served yet"));
}

absl::Status ReadModalities(const Json& value, std::string_view name, Draft*) {
  if (auto status = NeedArray(value, name); !status.ok()) return status;
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] != "text") {
      return BadField(ElementName(name, i), Cat(name, " other than text is not served"));
    }
  }
  return absl::OkStatus();
}

absl::Status IgnoreObject(const Json& value, std::string_view name, Draft*) {
  return NeedObject(value, name);
}

absl::Status NotYet(const Json&, std::string_view name, Draft*) { return NotServedYet(name); }

absl::Status RefuseFunctions(const Json&, std::string_view name, Draft*) {
  return BadField(name, Cat(name, " is not served: OpenAI retired it in favour of tools"));
}

constexpr auto kSampling = &GenerateRequest::mutable_sampling;
constexpr auto kStop = &GenerateRequest::mutable_stop;
constexpr GenerateField kCommonFields[] = {
    {"model", IntoRequest<std::string, ReadString, &GenerateRequest::set_model<std::string>>},
    {"temperature", kSamplingFloat<&Sampling::set_temperature>},
    {"top_p", kSamplingFloat<&Sampling::set_top_p>},
    {"min_p", kSamplingFloat<&Sampling::set_min_p>},
    {"top_k", Into<int32_t, ReadInt32, kSampling, &Sampling::set_top_k>},
    {"repetition_penalty", kSamplingFloat<&Sampling::set_repetition_penalty>},
    {"presence_penalty", kSamplingFloat<&Sampling::set_presence_penalty>},
    {"frequency_penalty", kSamplingFloat<&Sampling::set_frequency_penalty>},
    {"seed", Into<uint64_t, ReadSeed, kSampling, &Sampling::set_seed>},
    {"n", Into<uint32_t, ReadUint32, kSampling, &Sampling::set_n>},
    {"logit_bias", ReadLogitBias},
    {"max_tokens", ReadMaxTokens},
    {"max_completion_tokens", ReadMaxCompletionTokens},
    {"min_tokens", Into<uint32_t, ReadUint32, kStop, &Stop::set_min_tokens>},
    {"stop", ReadStop},
    {"stop_token_ids", ReadStopTokenIds},
    {"ignore_eos", kStopBool<&Stop::set_ignore_eos>},
    {"include_stop_str_in_output", kStopBool<&Stop::set_include_stop_string>},
    {"prompt_logprobs", Into<uint32_t, ReadUint32, &GenerateRequest::mutable_logprobs,
                             &v1::LogprobOptions::set_prompt_top>},
    {"add_special_tokens", IntoRequest<bool, ReadBool, &GenerateRequest::set_add_special_tokens>},
    {"skip_special_tokens", IntoRequest<bool, ReadBool, &GenerateRequest::set_skip_special_tokens>},
    {"priority", IntoRequest<int32_t, ReadInt32, &GenerateRequest::set_priority>},
    {"cache_salt",
     IntoRequest<std::string, ReadString, &GenerateRequest::set_cache_salt<std::string>>},
    {"width", ReadWidth},
    {"timeout", ReadTimeout},
    {"stream", IntoCall<bool, ReadBool, &GenerateCall::stream>},
    {"stream_options", ReadStreamOptions},
    {"return_token_ids", IntoCall<bool, ReadBool, &GenerateCall::return_token_ids>},
    // Accepted without effect, as OpenAI's clients send them.
    {"user", kIgnoredString},
    {"metadata", IgnoreObject},
    {"store", kIgnoredBool},
    {"service_tier", kIgnoredString},
    {"safety_identifier", kIgnoredString},
    {"prompt_cache_key", kIgnoredString},
    {"parallel_tool_calls", kIgnoredBool},
    {"response_format", ReadResponseFormat},
    {"tools", ReadTools},
    {"tool_choice", ReadToolChoice},
    {"modalities", ReadModalities},
    // Refused with the reason.
    {"best_of", ReadBestOf},
    {"functions", RefuseFunctions},
    {"function_call", RefuseFunctions},
    {"structured_outputs", NotYet},
};

}  // namespace

std::span<const GenerateField> CommonFields() { return kCommonFields; }

absl::Status FinishCommon(GenerateDraft* draft) {
  if (draft->has_stream_options && !draft->call.stream) {
    return BadField("stream_options", "stream_options needs stream to be true");
  }
  const auto& a = draft->max_tokens;
  const auto& b = draft->max_completion_tokens;
  if (a && b && *a != *b) {
    return BadField("max_completion_tokens",
                    Cat("max_completion_tokens (", *b, ") and max_tokens (", *a,
                        ") are the same setting and must not differ"));
  }
  if (a || b) draft->shared.mutable_stop()->set_max_tokens(a ? *a : *b);
  if (draft->call.stream && draft->shared.logprobs().has_prompt_top()) {
    return BadField("prompt_logprobs", "prompt_logprobs is not available with stream");
  }
  return absl::OkStatus();
}

}  // namespace latentd
