// A route's fields as a table: name → reader. Internal to server/http.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http/body.h"
#include "server/json/json.h"

namespace latentd {

template <typename Draft>
struct Field {
  std::string_view name;
  // Null never reaches it unless takes_null: elsewhere null means the default.
  absl::Status (*read)(const Json& value, std::string_view name, Draft* draft);
  bool takes_null = false;
};

// The body as an object, or the error with code invalid_json.
absl::StatusOr<Json> ParseObject(std::string_view body, const BodyOptions& options);
// The keys and values of `object` in order, through fn(key, value).
absl::Status ForEachMember(const Json& object,
                           absl::Status (*fn)(std::string_view, const Json&, void*), void* context);
absl::Status UnknownField(std::string_view name);
// "name is not served yet": what a later version brings.
absl::Status NotServedYet(std::string_view name);
bool IsNull(const Json& value);

// Reads every key of `object` by the first table that has it. `prefix` starts the names of errors
// ("stream_options."); empty for the body itself.
template <typename Draft, size_t N>
absl::Status ReadFields(const Json& object, std::string_view prefix,
                        const std::array<std::span<const Field<Draft>>, N>& tables,
                        const BodyOptions& options, Draft* draft) {
  struct Context {
    std::string_view prefix;
    const std::array<std::span<const Field<Draft>>, N>& tables;
    const BodyOptions& options;
    Draft* draft;
  } context{prefix, tables, options, draft};
  return ForEachMember(
      object,
      [](std::string_view key, const Json& value, void* untyped) -> absl::Status {
        auto& c = *static_cast<Context*>(untyped);
        for (const auto& table : c.tables) {
          for (const Field<Draft>& field : table) {
            if (field.name != key) continue;
            if (IsNull(value) && !field.takes_null) return absl::OkStatus();
            return field.read(value, std::string(c.prefix).append(key), c.draft);
          }
        }
        if (c.options.ignore_unknown_fields) return absl::OkStatus();
        return UnknownField(std::string(c.prefix).append(key));
      },
      &context);
}

// What a generate body says so far.
struct GenerateDraft {
  const BodyOptions* options = nullptr;
  GenerateCall call;
  v1::GenerateRequest shared;                // everything but the prompts
  std::vector<v1::GenerateRequest> prompts;  // completions: prompt only
  std::optional<uint32_t> max_tokens, max_completion_tokens;
  std::optional<bool> logprobs;          // chat
  std::optional<uint32_t> top_logprobs;  // chat
  bool has_stream_options = false;
  std::optional<Json> template_kwargs;          // an object
  std::optional<std::string> reasoning_effort;  // joins template_kwargs
};
using GenerateField = Field<GenerateDraft>;

// Fields that both generate routes have.
std::span<const GenerateField> CommonFields();
// Rules between common fields, and what follows from them.
absl::Status FinishCommon(GenerateDraft* draft);

// OpenAI's messages array into chat->messages.
absl::Status ReadMessages(const Json& value, std::string_view name, v1::Chat* chat);
// The template's settings as one JSON object; reasoning_effort yields to chat_template_kwargs.
std::string TemplateKwargs(const std::optional<Json>& kwargs,
                           const std::optional<std::string>& reasoning_effort);

// Accepted so that clients which always send it work: only its type matters.
template <typename Draft, typename T, absl::Status (*Read)(const Json&, std::string_view, T*)>
absl::Status Ignored(const Json& value, std::string_view name, Draft*) {
  T unused{};
  return Read(value, name, &unused);
}

}  // namespace latentd
