#include "server/http/field_table.h"

#include "server/cat.h"
#include "server/errors.h"
#include "server/http/fields.h"

namespace latentd {

absl::StatusOr<Json> ParseObject(std::string_view body, const BodyOptions& options) {
  if (body.empty()) {
    return BadField("", "the body is empty; it must be a JSON object", kInvalidJson);
  }
  absl::StatusOr<Json> json = ParseJson(body, options.max_json_depth);
  if (!json.ok()) {
    return BadField("", Cat("the body is not valid JSON: ", json.status().message()), kInvalidJson);
  }
  if (!json->is_object()) {
    return BadField("", Cat("the body must be a JSON object, got ", JsonTypeName(*json)),
                    kInvalidJson);
  }
  return json;
}

absl::Status ForEachMember(const Json& object,
                           absl::Status (*fn)(std::string_view, const Json&, void*),
                           void* context) {
  for (const auto& [key, value] : object.get_ref<const Json::object_t&>()) {
    if (auto status = fn(key, value, context); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status UnknownField(std::string_view name) {
  const std::string shown = ShownName(name);
  return BadField(shown, Cat("unknown field: ", shown));
}

absl::Status NotServedYet(std::string_view name) {
  return BadField(name, Cat(name, " is not served yet"));
}

bool IsNull(const Json& value) { return value.is_null(); }

}  // namespace latentd
