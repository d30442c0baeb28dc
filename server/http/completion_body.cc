
#include "server/cat.h"
#include "server/errors.h"
#include "server/http/field_table.h"
#include "server/http/fields.h"

namespace latentd {
namespace {

using Draft = GenerateDraft;

absl::Status AddTokenIds(const Json& value, std::string_view name, Draft* draft) {
  std::vector<uint32_t> ids;
  if (auto status = ReadUint32List(value, name, &ids); !status.ok()) return status;
  draft->prompts.emplace_back().mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  return absl::OkStatus();
}

absl::Status AddText(const Json& value, std::string_view name, Draft* draft) {
  return ReadString(value, name, draft->prompts.emplace_back().mutable_text());
}

// A string, a list of strings, a list of ids or a list of lists of ids; the first element of a list
// says which.
absl::Status ReadPrompt(const Json& value, std::string_view name, Draft* draft) {
  constexpr std::string_view kWhat =
      "a string, an array of strings, an array of token ids or an array of arrays of token ids";
  if (value.is_string()) return AddText(value, name, draft);
  if (!value.is_array()) return WrongType(value, name, kWhat);
  if (value.empty()) return BadField(name, Cat(name, " must not be an empty array"));
  if (value[0].is_number()) return AddTokenIds(value, name, draft);
  if (!value[0].is_string() && !value[0].is_array()) {
    return BadField(ElementName(name, 0), Cat(name, " must be ", kWhat));
  }
  if (value.size() > kMaxPrompts) {
    return BadField(name,
                    Cat(name, " must hold at most ", kMaxPrompts, " prompts, got ", value.size()));
  }
  draft->call.prompt_list = true;
  const auto add = value[0].is_string() ? AddText : AddTokenIds;
  for (size_t i = 0; i < value.size(); ++i) {
    if (auto status = add(value[i], ElementName(name, i), draft); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ReadEcho(const Json& value, std::string_view name, Draft* draft) {
  bool echo = false;
  if (auto status = ReadBool(value, name, &echo); !status.ok()) return status;
  draft->shared.set_echo(echo);
  return absl::OkStatus();
}

absl::Status ReadLogprobs(const Json& value, std::string_view name, Draft* draft) {
  uint32_t top = 0;
  if (auto status = ReadUint32(value, name, &top); !status.ok()) return status;
  draft->shared.mutable_logprobs()->set_top(top);
  return absl::OkStatus();
}

absl::Status RefuseSuffix(const Json&, std::string_view name, Draft*) {
  return BadField(name, Cat(name, " is not served: text is only added after the prompt"));
}

constexpr GenerateField kCompletionFields[] = {
    {"prompt", ReadPrompt, /*takes_null=*/true},
    {"echo", ReadEcho},
    {"logprobs", ReadLogprobs},
    {"suffix", RefuseSuffix},
};

}  // namespace

absl::StatusOr<GenerateCall> ParseCompletionBody(std::string_view body,
                                                 const BodyOptions& options) {
  absl::StatusOr<Json> json = ParseObject(body, options);
  if (!json.ok()) return json.status();
  Draft draft;
  draft.options = &options;
  auto status =
      ReadFields<Draft, 2>(*json, "", {kCompletionFields, CommonFields()}, options, &draft);
  if (!status.ok()) return status;
  if (draft.prompts.empty()) return BadField("prompt", "prompt is required");
  if (status = FinishCommon(&draft); !status.ok()) return status;
  for (v1::GenerateRequest& prompt : draft.prompts) {
    prompt.MergeFrom(draft.shared);
    draft.call.requests.push_back(std::move(prompt));
  }
  return std::move(draft.call);
}

}  // namespace latentd
