#include "server/json/json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/utf8.h"
#include "server/cat.h"

namespace latentd {
namespace {

// nlohmann's what() is "[json.exception.x.1] parse error at line 1, column 2: REASON; last read:
// …". Only REASON is for callers: the rest names internals or repeats the body.
std::string Reason(const nlohmann::json::exception& error) {
  constexpr int kNumberOverflow = 406;
  if (error.id == kNumberOverflow) return "number beyond the range of double";
  std::string_view what = error.what();
  if (const size_t at = what.find(": "); at != std::string_view::npos) what.remove_prefix(at + 2);
  what = what.substr(0, what.find("; last read"));
  return std::string(what.substr(0, 200));
}

// Builds the tree from parse events. A pointer on the stack stays valid because a container grows
// only while it is on top.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(size_t max_depth, size_t outer_depth)
      : max_depth_(max_depth), outer_depth_(outer_depth) {}

  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(number_integer_t value) override { return Add(value) != nullptr; }
  bool number_unsigned(number_unsigned_t value) override { return Add(value) != nullptr; }
  bool number_float(number_float_t value, const string_t&) override {
    return Add(value) != nullptr;
  }
  bool string(string_t& value) override { return Add(std::move(value)) != nullptr; }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_array() override { return Close(); }
  bool end_object() override {
    const auto& object = open_.back()->get_ref<const Json::object_t&>();
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const auto& entry : object) keys.push_back(entry.first);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice == keys.end()) return Close();
    return Fail(Cat("duplicate key ", DumpJson(Json(twice->substr(0, 64)))));
  }
  bool key(string_t& value) override {
    // Not operator[]: its search for the key would make a large object quadratic.
    open_.back()->get_ref<Json::object_t&>().emplace_back(std::move(value), nullptr);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) override {
    return Fail(Cat(Reason(error), " at byte ", position));
  }

  Json root;
  std::string error;

 private:
  bool Fail(std::string message) {
    error = std::move(message);
    return false;
  }
  Json* Add(Json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    Json& top = *open_.back();
    Json& slot = top.is_array() ? top.get_ref<Json::array_t&>().emplace_back()
                                : top.get_ref<Json::object_t&>().back().second;
    slot = std::move(value);
    return &slot;
  }
  bool Open(Json empty) {
    if (outer_depth_ + open_.size() == max_depth_) {
      return Fail(Cat("nested deeper than ", max_depth_, " levels"));
    }
    open_.push_back(Add(std::move(empty)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  const size_t max_depth_, outer_depth_;
  std::vector<Json*> open_;
};

// The character after the backslash where JSON has a short escape, else 0.
char ShortEscape(char c) {
  switch (c) {
    case '\b':
      return 'b';
    case '\t':
      return 't';
    case '\n':
      return 'n';
    case '\f':
      return 'f';
    case '\r':
      return 'r';
    case '"':
    case '\\':
      return c;
    default:
      return 0;
  }
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, size_t max_depth, size_t outer_depth) {
  // The lexer takes a NUL for the end of input and skips a byte order mark; JSON has neither.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    return absl::InvalidArgumentError(Cat("NUL at byte ", nul + 1));
  }
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    return absl::InvalidArgumentError("byte order mark at byte 1");
  }
  Builder builder(max_depth, outer_depth);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return absl::InvalidArgumentError(builder.error);
  }
  return std::move(builder.root);
}

std::string DumpJson(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void AppendJsonText(std::string_view text, std::string* out) {
  if (!IsValidUtf8(text)) {  // how much becomes one U+FFFD is DumpJson's rule
    const std::string quoted = DumpJson(Json(text));
    out->append(quoted, 1, quoted.size() - 2);
    return;
  }
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i], escape = ShortEscape(c);
    if (escape == 0 && static_cast<unsigned char>(c) >= 0x20) continue;
    out->append(text, done, i - done);
    done = i + 1;
    if (escape != 0) {
      out->append({'\\', escape});
    } else {
      constexpr char kHex[] = "0123456789abcdef";
      out->append({'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]});
    }
  }
  out->append(text, done);
}

std::string_view JsonTypeName(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a fraction";
    default:
      return "something else";
  }
}

}  // namespace latentd
