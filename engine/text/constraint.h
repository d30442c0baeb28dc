// Constrained output: which tokens keep a text inside a JSON Schema, a regex, a list or a grammar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace latentd {

// The tokens of a tokenizer, arranged for constraints as a trie of their bytes: made once for a
// model. Immutable: any thread may compile with it. Neither the tokenizer nor, later, the
// vocabulary need outlive what was made from them.
class ConstraintVocabulary {
 public:
  // `end_ids` are the tokens that end a text (the eos ids of the model). Neither they nor special
  // tokens are ever part of one. INVALID_ARGUMENT: there are none, or one is not in the vocabulary.
  static absl::StatusOr<std::unique_ptr<ConstraintVocabulary>> Create(
      const Tokenizer& tokenizer, std::span<const uint32_t> end_ids);
  ~ConstraintVocabulary();
  ConstraintVocabulary(const ConstraintVocabulary&) = delete;
  ConstraintVocabulary& operator=(const ConstraintVocabulary&) = delete;

  // Words of a mask: ceil(vocab_size / 32).
  size_t num_mask_words() const { return num_mask_words_; }

 private:
  friend class Constraint;
  struct Handle;  // owns the object behind the C ABI

  ConstraintVocabulary();

  std::unique_ptr<Handle> handle_;
  size_t num_mask_words_ = 0;
};

// A language, and a text that grows inside it token by token. Made from strangers' input: what is
// too large or too entangled is refused, in bounded time and memory. One thread at a time.
//
//   Commit(t) for every generated token; between them, FillMask says what may come next.
//
// The mask is exact: a token is in it if and only if its bytes, appended to the text, leave a
// prefix of some text of the language; the end tokens are in it if and only if the text is of the
// language. The work of a step is bounded (the library counts states and items), and so is the
// memory of a constraint with all its clones. A language can still turn out too entangled on the
// way: then FillMask or Commit fails, and that request with it. What a constraint says depends on
// its own tokens alone.
class Constraint {
 public:
  enum class Kind : uint32_t {
    kJsonSchema,  // a JSON Schema (drafts 4 to 2020-12, what llguidance knows of them; an unknown
                  // keyword and a $ref to outside are refused); members in the order of the schema
    kRegex,       // a regex in the syntax of Rust's regex crate, which the whole text matches
    kChoice,      // a JSON array of strings, of which the text is one
    kLark,        // a context-free grammar in llguidance's dialect of Lark
  };

  struct Limits {
    size_t source_bytes = 64 << 10;  // of the source
    size_t memory_bytes = 64 << 20;  // held by the constraint and its clones at any time
    uint64_t cpu_ms = 2000;          // processor time of the compilation
    uint64_t wall_ms = 5000;         // until Compile returns, however busy the machine is
  };

  // INVALID_ARGUMENT, one sentence without internals: `source` is not what its kind says, asks for
  // something unsupported, or goes over a limit.
  static absl::StatusOr<std::unique_ptr<Constraint>> Compile(const ConstraintVocabulary& vocabulary,
                                                             Kind kind, std::string_view source,
                                                             const Limits& limits);
  ~Constraint();
  Constraint(const Constraint&) = delete;
  Constraint& operator=(const Constraint&) = delete;

  // Bit i % 32 of words[i / 32] becomes whether token i may come next; bits beyond the vocabulary
  // become 0. REQUIRES: words.size() >= num_mask_words(). An error: the language is too entangled
  // here, or no token of the vocabulary goes on; then the constraint is of no more use.
  absl::Status FillMask(std::span<uint32_t> words);

  // Appends token `id` to the text. INVALID_ARGUMENT: the mask does not hold it, and nothing has
  // changed; or as FillMask.
  absl::Status Commit(uint32_t id);

  // Where the text stands.
  struct State {
    bool is_accepting = false;  // it is of the language: the end tokens are in the mask
    bool is_finished = false;   // they alone are in it, as far as is known before FillMask
  };
  absl::StatusOr<State> GetState();

  // A copy that goes its own way from here, as one more choice of the same request does. It counts
  // towards the same limit of memory. Not while another thread uses *this.
  absl::StatusOr<std::unique_ptr<Constraint>> Clone() const;

 private:
  struct Handle;  // owns the object behind the C ABI

  Constraint();

  std::unique_ptr<Handle> handle_;
};

}  // namespace latentd
