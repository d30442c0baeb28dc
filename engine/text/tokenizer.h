// Text to token ids and back, by the tokenizer.json of a model folder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct latentd_tokenizer;  // of the C ABI (text/include/latentd_text.h)

namespace latentd {

// A tokenizer is immutable; every const method may be called from any thread at once.
// Encoding is the Hugging Face `tokenizers` library itself. Decoding is defined on the exact bytes
// of the tokens: they are concatenated and what is not UTF-8 becomes U+FFFD (utf8.h). For valid
// text that equals the library; a run of byte-fallback tokens that is not UTF-8 shows its valid
// characters, where the library replaces the whole run.
class Tokenizer {
 public:
  // Reads tokenizer.json and, where present, tokenizer_config.json (bos_token, eos_token,
  // add_bos_token, add_eos_token). NOT_FOUND: no tokenizer.json. INVALID_ARGUMENT: a file that is
  // not what it should be; the message names file and key.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::string& model_dir);

  // The same from the files' contents; `config_json` may be empty.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(std::string_view tokenizer_json,
                                                             std::string_view config_json);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // The ids of `utf8`. With `add_special`, what the post-processor adds, and BOS and EOS as
  // tokenizer_config.json wants them. Special tokens spelt out in the text become their ids either
  // way. INVALID_ARGUMENT: `utf8` is not UTF-8.
  absl::StatusOr<std::vector<uint32_t>> Encode(std::string_view utf8, bool add_special) const;

  struct Encoded {
    std::vector<uint32_t> ids;
    uint64_t at_least = 0;  // not 0: so many ids at least, more than wanted; `ids` is empty
  };
  // The same, for a caller who wants no more than `max_ids`, special ones aside: a text that has
  // more is given up as early as that is certain, mostly by its length alone.
  absl::StatusOr<Encoded> EncodeAtMost(std::string_view utf8, bool add_special,
                                       size_t max_ids) const;

  // The text of `ids` as a text of its own: valid UTF-8, without the space that the decoder takes
  // from a text's beginning. Ids that are no token (padding of the vocabulary) are empty. With
  // `skip_special`, special tokens are left out.
  std::string Decode(std::span<const uint32_t> ids, bool skip_special) const;

  // The exact bytes of token `id` inside a text, not necessarily UTF-8; empty where `id` is no
  // token.
  std::string TokenBytes(uint32_t id) const;

  // The same without a copy; valid as long as the tokenizer.
  std::string_view TokenBytesView(uint32_t id) const;

  // Whether `id` is a special token (BOS, EOS, markers of a chat template, …).
  bool IsSpecial(uint32_t id) const;

  // One above the largest id, added tokens included.
  uint32_t vocab_size() const { return vocab_size_; }

  // The id of the token whose content in tokenizer.json is `token`, such as "</s>" or "Ġthe".
  std::optional<uint32_t> TokenId(std::string_view token) const;

  // From tokenizer_config.json; absent where it names none, or one that is not in the vocabulary.
  std::optional<uint32_t> bos_id() const { return bos_id_; }
  std::optional<uint32_t> eos_id() const { return eos_id_; }
  const std::string& bos_token() const { return bos_token_; }  // empty: none
  const std::string& eos_token() const { return eos_token_; }  // empty: none

  // How many spaces the decoder takes from the beginning of a text (0 or 1 in practice).
  uint32_t leading_spaces_stripped() const { return leading_spaces_; }

  // The object behind the C ABI, for other parts of it; owned by the tokenizer.
  const latentd_tokenizer* c_handle() const;

 private:
  struct Handle;  // owns the object behind the C ABI

  Tokenizer();
  absl::Status ReadConfig(std::string_view config_json);
  absl::Status ReadTokens();
  absl::StatusOr<Encoded> EncodeRaw(std::string_view utf8, bool add_special, size_t max_ids) const;

  std::unique_ptr<Handle> handle_;
  uint32_t vocab_size_ = 0;
  uint32_t leading_spaces_ = 0;
  std::string bytes_;  // of all tokens, one after the other
  std::vector<uint64_t>
      byte_end_;               // [vocab_size] end of token i in bytes_; it begins at i - 1's end
  std::vector<bool> special_;  // [vocab_size]
  std::string bos_token_, eos_token_;
  std::optional<uint32_t> bos_id_, eos_id_;
  // What Encode must change in the ids of the post-processor to follow add_bos_token,
  // add_eos_token.
  enum class Edge { kKeep, kAdd, kRemove };
  Edge bos_edge_ = Edge::kKeep, eos_edge_ = Edge::kKeep;
};

}  // namespace latentd
