#include "engine/model/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>

#include "engine/model/message.h"
#include "engine/model/strict_json.h"

namespace latentd {
namespace {

using nlohmann::json;

constexpr std::string_view kMetadata = "__metadata__";

// Far beyond any checkpoint's files; they bound what a header of 100 MB can cost to seconds.
constexpr size_t kMaxTensors = size_t{1} << 19;
constexpr size_t kMaxDims = 8;

// A state machine over {name: {dtype, shape, data_offsets}}: any other form stops the parser at
// once, so neither nesting nor foreign values cost memory.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return Unexpected(absl::StrCat("the number ", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return Unexpected(absl::StrCat("the number ", Printable(text)));
  }
  bool binary(binary_t&) override { return Unexpected("a binary value"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kShape) {
      if (tensor_.shape.size() == kMaxDims) {
        return Fail(absl::StrCat("tensor '", Printable(tensor_.name), "' has more than ", kMaxDims,
                                 " dimensions"));
      }
      tensor_.shape.push_back(value);
      return true;
    }
    if (state_ == State::kOffsets && num_offsets_ < 2) {
      (num_offsets_++ == 0 ? tensor_.begin : tensor_.end) = value;
      return true;
    }
    return Unexpected(absl::StrCat("the number ", value));
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadata) return true;
    if (state_ != State::kTensor || field_ != "dtype") return Unexpected("a string");
    tensor_.type = FindStoredType(value);
    if (tensor_.type != nullptr) return true;
    return Fail(absl::StrCat("tensor '", Printable(tensor_.name), "' has the unknown dtype '",
                             Printable(value), "'"));
  }

  bool start_object(std::size_t) override {
    if (state_ == State::kStart) return Enter(State::kTop);
    if (state_ != State::kTop) return Unexpected("an object");
    return Enter(tensor_.name == kMetadata ? State::kMetadata : State::kTensor);
  }

  bool key(string_t& value) override {
    if (state_ == State::kTop) {
      if (entries.size() == kMaxTensors) {
        return Fail(absl::StrCat("the header has more than ", kMaxTensors, " tensors"));
      }
      tensor_ = TensorEntry{};
      tensor_.name = std::move(value);
      seen_.clear();
      num_offsets_ = 0;
      return true;
    }
    if (!seen_.insert(value).second) {
      return Fail(absl::StrCat("'", Printable(tensor_.name), "' has the key '", Printable(value),
                               "' twice"));
    }
    if (state_ == State::kTensor && value != "dtype" && value != "shape" &&
        value != "data_offsets") {
      return Fail(absl::StrCat("tensor '", Printable(tensor_.name), "' has the unknown key '",
                               Printable(value), "'"));
    }
    field_ = std::move(value);
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kTensor && field_ == "shape") return Enter(State::kShape);
    if (state_ == State::kTensor && field_ == "data_offsets") return Enter(State::kOffsets);
    return Unexpected("an array");
  }

  bool end_array() override {
    if (state_ == State::kOffsets && num_offsets_ != 2) return Fail(Offsets());
    return Enter(State::kTensor);
  }

  bool end_object() override {
    if (state_ == State::kTop) return Enter(State::kEnd);
    if (state_ == State::kMetadata) return EndMetadata();
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (seen_.count(field) == 0) {
        return Fail(absl::StrCat("tensor '", Printable(tensor_.name), "' has no ", field));
      }
    }
    entries.push_back(std::move(tensor_));
    return Enter(State::kTop);
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    const std::string where =
        tensor_.name.empty() ? "" : absl::StrCat(" (at tensor '", Printable(tensor_.name), "')");
    return Fail(
        absl::StrCat("the header is not valid JSON", where, ": ", JsonErrorText(error.what())));
  }

  std::vector<TensorEntry> entries;
  std::string fault;

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kEnd };

  bool Enter(State state) {
    state_ = state;
    return true;
  }

  bool Fail(std::string message) {
    fault = std::move(message);
    return false;
  }

  bool EndMetadata() {
    if (std::exchange(has_metadata_, true)) return Fail("__metadata__ is given twice");
    return Enter(State::kTop);
  }

  std::string Offsets() const {
    return absl::StrCat("tensor '", Printable(tensor_.name),
                        "' must have two whole numbers in data_offsets");
  }

  bool Unexpected(std::string_view what) {
    const absl::string_view thing(what.data(), what.size());
    switch (state_) {
      case State::kStart:
      case State::kEnd:
        return Fail(absl::StrCat("the header must be a JSON object, not ", thing));
      case State::kTop:
        return Fail(absl::StrCat("'", Printable(tensor_.name), "' must be an object, not ", thing));
      case State::kMetadata:
        return Fail(absl::StrCat("__metadata__ must hold strings only; '", Printable(field_),
                                 "' is ", thing));
      case State::kTensor:
        return Fail(absl::StrCat("tensor '", Printable(tensor_.name), "' has a wrong ",
                                 Printable(field_), ": ", thing));
      case State::kShape:
        return Fail(absl::StrCat("tensor '", Printable(tensor_.name),
                                 "' must have whole numbers in its shape, not ", thing));
      case State::kOffsets:
        return Fail(Offsets());
    }
    return Fail("the header is malformed");
  }

  State state_ = State::kStart;
  TensorEntry tensor_;
  std::string field_;
  std::unordered_set<std::string> seen_;  // keys of the object that is open
  int num_offsets_ = 0;
  bool has_metadata_ = false;
};

}  // namespace

absl::StatusOr<std::vector<TensorEntry>> ReadHeaderEntries(std::string_view header) {
  if (header.empty() || header.front() != '{') {
    return absl::InvalidArgumentError("the header must begin with '{'");
  }
  HeaderReader reader;
  if (!json::sax_parse(header.begin(), header.end(), &reader)) {
    return absl::InvalidArgumentError(reader.fault);
  }
  return std::move(reader.entries);
}

}  // namespace latentd
