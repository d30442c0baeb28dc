
#include "server/cat.h"
#include "server/errors.h"
#include "server/http/field_table.h"
#include "server/http/fields.h"

namespace latentd {
namespace {

std::string Member(std::string_view name, std::string_view key) { return Cat(name, ".", key); }

// {"type": "text", "text": …} appended to *out; every other kind of part is refused.
absl::Status AppendTextPart(const Json& part, std::string_view name, std::string* out) {
  if (auto status = NeedObject(part, name); !status.ok()) return status;
  const std::string type_name = Member(name, "type");
  const auto type = part.find("type");
  if (type == part.end()) return BadField(type_name, Cat(type_name, " is required"));
  std::string kind;
  if (auto status = ReadString(*type, type_name, &kind); !status.ok()) return status;
  if (kind != "text") {
    return BadField(type_name, Cat(type_name, " must be \"text\", not \"", ShownName(kind),
                                   "\": only text is served"));
  }
  const std::string text_name = Member(name, "text");
  const auto text = part.find("text");
  if (text == part.end()) return BadField(text_name, Cat(text_name, " is required"));
  std::string piece;
  if (auto status = ReadString(*text, text_name, &piece); !status.ok()) return status;
  out->append(piece);
  return absl::OkStatus();
}

absl::Status ReadContent(const Json& value, std::string_view name, v1::Message* message) {
  if (value.is_string()) {
    message->set_content(value.get_ref<const std::string&>());
    return absl::OkStatus();
  }
  if (!value.is_array()) return WrongType(value, name, "a string or an array of text parts");
  std::string* joined = message->mutable_content();
  for (size_t i = 0; i < value.size(); ++i) {
    if (auto status = AppendTextPart(value[i], ElementName(name, i), joined); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status ReadToolCalls(const Json& value, std::string_view name, v1::Message* message) {
  if (auto status = NeedArray(value, name); !status.ok()) return status;
  for (size_t i = 0; i < value.size(); ++i) {
    if (auto status = NeedObject(value[i], ElementName(name, i)); !status.ok()) return status;
    message->add_tool_calls_json(DumpJson(value[i]));
  }
  return absl::OkStatus();
}

// Keys that the message type does not know go to the template as they are.
absl::Status ReadMessage(const Json& value, std::string_view name, v1::Message* message) {
  if (auto status = NeedObject(value, name); !status.ok()) return status;
  Json extra = Json::object();
  for (const auto& [key, member] : value.get_ref<const Json::object_t&>()) {
    if (member.is_null()) continue;
    absl::Status status;
    if (key == "role") {
      status = ReadString(member, Member(name, key), message->mutable_role());
    } else if (key == "content") {
      status = ReadContent(member, Member(name, key), message);
    } else if (key == "name") {
      status = ReadString(member, Member(name, key), message->mutable_name());
    } else if (key == "tool_call_id") {
      status = ReadString(member, Member(name, key), message->mutable_tool_call_id());
    } else if (key == "tool_calls") {
      status = ReadToolCalls(member, Member(name, key), message);
    } else {
      // Keys are distinct already; a search for each would be quadratic.
      extra.get_ref<Json::object_t&>().emplace_back(key, member);
    }
    if (!status.ok()) return status;
  }
  if (!extra.empty()) message->set_extra_json(DumpJson(extra));
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadMessages(const Json& value, std::string_view name, v1::Chat* chat) {
  if (auto status = NeedArray(value, name); !status.ok()) return status;
  for (size_t i = 0; i < value.size(); ++i) {
    const auto status = ReadMessage(value[i], ElementName(name, i), chat->add_messages());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace latentd
