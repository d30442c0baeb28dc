// Chat prompts: messages, roles, tools and template settings.
#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_join.h"
#include "engine/text/utf8.h"
#include "server/cat.h"
#include "server/errors.h"
#include "server/json/json.h"
#include "server/limits.h"
#include "server/validate_parts.h"

namespace latentd {
namespace {

constexpr std::array<const char*, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
constexpr size_t kShownChars = 64;

// A caller's string inside a message: short enough to leave room for the rest.
std::string Quoted(std::string_view text) {
  std::string shown = ToValidUtf8(text.substr(0, kShownChars));
  if (text.size() > kShownChars) shown += "…";
  return Cat("\"", shown, "\"");
}

// JSON inside a message of ours is held to what HTTP takes in its place of a body, where `level`
// arrays and objects are around it.
absl::Status CheckJsonObject(std::string_view param, const std::string& json, size_t level) {
  const absl::StatusOr<Json> value = ParseJson(json, kMaxJsonDepth, level);
  if (!value.ok()) {
    return BadField(param, Cat(param, " is not valid JSON: ", value.status().message()),
                    kInvalidJson);
  }
  return value->is_object() ? absl::OkStatus()
                            : WrongType(param, "an object", JsonTypeName(*value));
}

absl::Status CheckMessage(const v1::Message& message, const std::string& param) {
  if (std::find(kRoles.begin(), kRoles.end(), message.role()) == kRoles.end()) {
    return OutOfRange(param + ".role", Cat("one of ", absl::StrJoin(kRoles, ", ")),
                      Quoted(message.role()));
  }
  if (!message.has_content() && message.role() != "assistant") {
    return BadField(param + ".content",
                    Cat(param, ".content must not be null for the role ", message.role()));
  }
  absl::Status status = CheckUtf8(param + ".content", message.content());
  if (status.ok()) status = CheckUtf8(param + ".name", message.name());
  if (status.ok()) status = CheckUtf8(param + ".tool_call_id", message.tool_call_id());
  for (int i = 0; status.ok() && i < message.tool_calls_json_size(); ++i) {
    status = CheckJsonObject(Cat(param, ".tool_calls[", i, "]"), message.tool_calls_json(i),
                             4);  // body, messages, message, calls
  }
  if (status.ok() && !message.extra_json().empty()) {
    status = CheckJsonObject(param, message.extra_json(), 2);  // body, messages
  }
  return status;
}

absl::Status CheckTools(const v1::Chat& chat) {
  if (chat.tools_json_size() > 0) return BadField("tools", "tools is not served yet");
  const std::string& choice = chat.tool_choice_json();
  if (choice.empty() || choice == "none" || choice == "\"none\"") return absl::OkStatus();
  return BadField("tool_choice", "tool_choice must be \"none\": tools is not served yet");
}

}  // namespace

absl::Status CheckUtf8(std::string_view param, std::string_view text) {
  if (IsValidUtf8(text)) return absl::OkStatus();
  return BadField(param, Cat(param, " must be valid UTF-8"));
}

absl::Status CheckChat(const v1::Chat& chat, bool has_chat_template) {
  if (!has_chat_template) {
    return BadField("messages",
                    "messages need a chat template, and this model has none; use a plain prompt");
  }
  if (chat.messages().empty()) return BadField("messages", "messages must not be empty");
  for (int i = 0; i < chat.messages_size(); ++i) {
    absl::Status status = CheckMessage(chat.messages(i), Cat("messages[", i, "]"));
    if (!status.ok()) return status;
  }
  if (absl::Status status = CheckTools(chat); !status.ok()) return status;
  if (!chat.chat_template_kwargs_json().empty()) {
    absl::Status status =
        CheckJsonObject("chat_template_kwargs", chat.chat_template_kwargs_json(), 1);
    if (!status.ok()) return status;
  }
  if (!chat.continue_final_message()) return absl::OkStatus();
  if (chat.has_add_generation_prompt() && chat.add_generation_prompt()) {
    return BadField("continue_final_message",
                    "continue_final_message and add_generation_prompt must not both be true");
  }
  if (!chat.messages(chat.messages_size() - 1).has_content()) {
    return BadField("continue_final_message",
                    "continue_final_message needs a last message with content");
  }
  return absl::OkStatus();
}

}  // namespace latentd
