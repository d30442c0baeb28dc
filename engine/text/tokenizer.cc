#include "engine/text/tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/c_abi.h"
#include "engine/text/detokenizer.h"
#include "engine/text/model_files.h"
#include "engine/text/utf8.h"
#include "nlohmann/json.hpp"

namespace latentd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kTokenizerFile[] = "tokenizer.json";
constexpr char kConfigFile[] = "tokenizer_config.json";

absl::Status ConfigError(const char* key, const char* problem) {
  return absl::InvalidArgumentError(absl::StrCat(kConfigFile, ": ", key, " ", problem));
}

// The token string of `key`: a string, or an object with "content"; empty where absent or null.
absl::StatusOr<std::string> TokenString(const Json& config, const char* key) {
  if (!config.is_object() || !config.contains(key) || config[key].is_null()) return std::string();
  const Json& value = config[key];
  const Json& text = value.is_object() && value.contains("content") ? value["content"] : value;
  if (!text.is_string()) return ConfigError(key, "is neither a string nor an object with content");
  return text.get<std::string>();
}

absl::StatusOr<std::optional<bool>> Flag(const Json& config, const char* key) {
  if (!config.is_object() || !config.contains(key) || config[key].is_null()) return std::nullopt;
  if (!config[key].is_boolean()) return ConfigError(key, "is not true or false");
  return std::optional<bool>(config[key].get<bool>());
}

}  // namespace

struct Tokenizer::Handle {
  ~Handle() { latentd_tokenizer_free(ptr); }
  latentd_tokenizer* ptr = nullptr;
};

Tokenizer::Tokenizer() : handle_(std::make_unique<Handle>()) {}
Tokenizer::~Tokenizer() = default;

const latentd_tokenizer* Tokenizer::c_handle() const { return handle_->ptr; }

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& model_dir) {
  absl::StatusOr<std::string> tokenizer = ReadModelFile(model_dir, kTokenizerFile);
  if (!tokenizer.ok()) return tokenizer.status();
  absl::StatusOr<std::string> config = ReadOptionalModelFile(model_dir, kConfigFile);
  if (!config.ok()) return config.status();
  return FromJson(*tokenizer, *config);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer_json,
                                                               std::string_view config_json) {
  std::unique_ptr<Tokenizer> result(new Tokenizer);
  absl::Status status = TakeTextError(
      kTokenizerFile, latentd_tokenizer_new(TextData(tokenizer_json), tokenizer_json.size(),
                                            &result->handle_->ptr));
  if (status.ok()) status = result->ReadTokens();
  if (status.ok()) status = result->ReadConfig(config_json);
  if (!status.ok()) return status;
  return result;
}

absl::Status Tokenizer::ReadTokens() {
  const latentd_tokenizer* tokenizer = handle_->ptr;
  vocab_size_ = latentd_tokenizer_vocab_size(tokenizer);
  leading_spaces_ = latentd_tokenizer_leading_spaces(tokenizer);
  special_.resize(vocab_size_);
  byte_end_.resize(vocab_size_);
  for (uint32_t id = 0; id < vocab_size_; ++id) {
    latentd_text_bytes bytes;
    absl::Status status =
        TakeTextError(kTokenizerFile, latentd_tokenizer_token_bytes(tokenizer, id, &bytes));
    if (!status.ok()) return status;
    bytes_.append(TakeTextBytes(bytes));
    byte_end_[id] = bytes_.size();
    special_[id] = latentd_tokenizer_is_special(tokenizer, id);
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::ReadConfig(std::string_view config_json) {
  absl::StatusOr<Json> config = ParseModelJson(config_json, kConfigFile);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::string> bos = TokenString(*config, "bos_token");
  absl::StatusOr<std::string> eos = TokenString(*config, "eos_token");
  absl::StatusOr<std::optional<bool>> add_bos = Flag(*config, "add_bos_token");
  absl::StatusOr<std::optional<bool>> add_eos = Flag(*config, "add_eos_token");
  for (const absl::Status& status :
       {bos.status(), eos.status(), add_bos.status(), add_eos.status()}) {
    if (!status.ok()) return status;
  }
  bos_token_ = *std::move(bos);
  eos_token_ = *std::move(eos);
  bos_id_ = TokenId(bos_token_);
  eos_id_ = TokenId(eos_token_);
  // What the post-processor adds shows in an empty text.
  absl::StatusOr<Encoded> encoded = EncodeRaw("", /*add_special=*/true, SIZE_MAX);
  if (!encoded.ok()) return encoded.status();
  const std::vector<uint32_t>& empty = encoded->ids;
  // As in transformers: where one of the flags is given, an absent one means no.
  const bool is_configured = add_bos->has_value() || add_eos->has_value();
  const auto edge = [&](const std::optional<uint32_t>& id, bool is_there,
                        const std::optional<bool>& flag) {
    const bool wanted = flag.value_or(false);
    if (!id || !is_configured || wanted == is_there) return Edge::kKeep;
    return wanted ? Edge::kAdd : Edge::kRemove;
  };
  bos_edge_ = edge(bos_id_, !empty.empty() && empty.front() == bos_id_, *add_bos);
  eos_edge_ = edge(eos_id_, !empty.empty() && empty.back() == eos_id_, *add_eos);
  return absl::OkStatus();
}

absl::StatusOr<Tokenizer::Encoded> Tokenizer::EncodeRaw(std::string_view utf8, bool add_special,
                                                        size_t max_ids) const {
  latentd_text_ids ids;
  size_t at_least = 0;
  absl::Status status =
      TakeTextError("text", latentd_tokenizer_encode(handle_->ptr, TextData(utf8), utf8.size(),
                                                     add_special, max_ids, &ids, &at_least));
  if (!status.ok()) return status;
  Encoded result{.ids = {ids.data, ids.data + ids.size}, .at_least = at_least};
  latentd_text_ids_free(ids);
  return result;
}

absl::StatusOr<std::vector<uint32_t>> Tokenizer::Encode(std::string_view utf8,
                                                        bool add_special) const {
  absl::StatusOr<Encoded> encoded = EncodeAtMost(utf8, add_special, SIZE_MAX);
  if (!encoded.ok()) return encoded.status();
  return std::move(encoded->ids);
}

absl::StatusOr<Tokenizer::Encoded> Tokenizer::EncodeAtMost(std::string_view utf8, bool add_special,
                                                           size_t max_ids) const {
  absl::StatusOr<Encoded> encoded = EncodeRaw(utf8, add_special, max_ids);
  if (!encoded.ok() || encoded->at_least != 0 || !add_special) return encoded;
  std::vector<uint32_t>& ids = encoded->ids;
  if (bos_edge_ == Edge::kAdd) ids.insert(ids.begin(), *bos_id_);
  if (bos_edge_ == Edge::kRemove && !ids.empty()) ids.erase(ids.begin());
  if (eos_edge_ == Edge::kAdd) ids.push_back(*eos_id_);
  if (eos_edge_ == Edge::kRemove && !ids.empty()) ids.pop_back();
  return encoded;
}

std::string Tokenizer::Decode(std::span<const uint32_t> ids, bool skip_special) const {
  IncrementalDecoder decoder(this, {.skip_special = skip_special, .at_text_start = true});
  std::string text;
  for (const uint32_t id : ids) text += decoder.Push(id);
  return text + decoder.Flush();
}

std::string_view Tokenizer::TokenBytesView(uint32_t id) const {
  if (id >= vocab_size_) return {};
  const uint64_t begin = id == 0 ? 0 : byte_end_[id - 1];
  return std::string_view(bytes_).substr(begin, byte_end_[id] - begin);
}

std::string Tokenizer::TokenBytes(uint32_t id) const { return std::string(TokenBytesView(id)); }

bool Tokenizer::IsSpecial(uint32_t id) const { return id < vocab_size_ && special_[id]; }

std::optional<uint32_t> Tokenizer::TokenId(std::string_view token) const {
  bool found = false;
  uint32_t id = 0;
  // A token that is not UTF-8 is an error, and in no vocabulary.
  const absl::Status status = TakeTextError(
      "token",
      latentd_tokenizer_token_id(handle_->ptr, TextData(token), token.size(), &found, &id));
  if (!status.ok() || !found) return std::nullopt;
  return id;
}

}  // namespace latentd
