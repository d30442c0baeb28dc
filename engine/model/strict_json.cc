#include "engine/model/strict_json.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/model/message.h"

namespace latentd {
namespace {

using nlohmann::json;

// Bounds what a document costs in memory, which is many times its text.
constexpr int kMaxValues = 1 << 20;

// Builds the document while checking what the parser itself lets pass. A callback that returns
// false stops the parser, so nothing is thrown and nothing after the first fault is read.
class DocumentBuilder : public nlohmann::json_sax<json> {
 public:
  explicit DocumentBuilder(int max_depth) : max_depth_(max_depth) {}

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return Fail("binary values do not exist in JSON text"); }
  bool start_object(std::size_t) override { return Open(json::object()); }
  bool start_array(std::size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& value) override {
    if (open_.back()->contains(value)) {
      return Fail(absl::StrCat("key '", Printable(value), "' is given twice"));
    }
    key_ = value;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    const std::string where =
        key_.empty() ? "" : absl::StrCat(" (after key '", Printable(key_), "')");
    return Fail(absl::StrCat("not valid JSON", where, ": ", JsonErrorText(error.what())));
  }

  json root;
  std::string fault;

 private:
  bool Fail(std::string message) {
    fault = std::move(message);
    return false;
  }

  // Null past the limit.
  json* Place(json value) {
    if (++num_values_ > kMaxValues) {
      Fail(absl::StrCat("has more than ", kMaxValues, " values"));
      return nullptr;
    }
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool Add(json value) { return Place(std::move(value)) != nullptr; }

  // Pointers to open containers stay valid: only the innermost one grows.
  bool Open(json container) {
    if (static_cast<int>(open_.size()) >= max_depth_) {
      return Fail(absl::StrCat("nested deeper than ", max_depth_, " levels"));
    }
    json* placed = Place(std::move(container));
    if (placed == nullptr) return false;
    open_.push_back(placed);
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  const int max_depth_;
  std::vector<json*> open_;
  std::string key_;
  int num_values_ = 0;
};

}  // namespace

absl::StatusOr<json> ParseStrictJson(std::string_view text, int max_depth) {
  DocumentBuilder builder(max_depth);
  if (!json::sax_parse(text.begin(), text.end(), &builder)) {
    return Invalid(builder.fault);
  }
  return std::move(builder.root);
}

std::string JsonErrorText(std::string_view parser_message) {
  const size_t prefix = parser_message.find("] ");
  if (prefix != std::string_view::npos) parser_message.remove_prefix(prefix + 2);
  return Printable(parser_message);
}

}  // namespace latentd
