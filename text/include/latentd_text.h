// C ABI of the Rust crate in text/: Hugging Face tokenizers, Jinja chat templates, constrained
// output.
//
// Every function that can fail returns null, or an error: one line of UTF-8, owned by the caller,
// freed with latentd_text_error_free. After an error the outputs are untouched. No panic leaves a
// function; it becomes an error. Handles are immutable, but for constraints: any number of threads
// may use one at once, but freeing. Input pointers are borrowed for the call; they may be null
// where the size is 0.
#ifndef LATENTD_TEXT_H_
#define LATENTD_TEXT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct latentd_tokenizer latentd_tokenizer;
typedef struct latentd_template latentd_template;

// Bytes owned by the caller, freed with latentd_text_bytes_free. `data` is never null.
typedef struct latentd_text_bytes {
  uint8_t* data;
  size_t size;
} latentd_text_bytes;

// Token ids owned by the caller, freed with latentd_text_ids_free. `data` is never null.
typedef struct latentd_text_ids {
  uint32_t* data;
  size_t size;
} latentd_text_ids;

void latentd_text_error_free(char* error);
void latentd_text_bytes_free(latentd_text_bytes bytes);
void latentd_text_ids_free(latentd_text_ids ids);

// From the bytes of tokenizer.json. *out is the caller's, freed with latentd_tokenizer_free.
// Truncation and padding that the file asks for are ignored.
char* latentd_tokenizer_new(const uint8_t* json, size_t size, latentd_tokenizer** out);
void latentd_tokenizer_free(latentd_tokenizer* tokenizer);

// Ids of a UTF-8 text; with `add_special`, also those that the post-processor adds. Ends early
// where the text alone has more than `max_ids`: *at_least is then how many it has at least, and
// *out is empty; else *at_least is 0.
char* latentd_tokenizer_encode(const latentd_tokenizer* tokenizer, const uint8_t* text, size_t size,
                               bool add_special, size_t max_ids, latentd_text_ids* out,
                               size_t* at_least);

// Text of `ids` as the library decodes it.
char* latentd_tokenizer_decode(const latentd_tokenizer* tokenizer, const uint32_t* ids,
                               size_t num_ids, bool skip_special, latentd_text_bytes* out);

// The exact bytes of token `id` inside a text; empty where `id` is no token.
char* latentd_tokenizer_token_bytes(const latentd_tokenizer* tokenizer, uint32_t id,
                                    latentd_text_bytes* out);

// The id of the token with this content; *found says whether there is one.
char* latentd_tokenizer_token_id(const latentd_tokenizer* tokenizer, const uint8_t* token,
                                 size_t size, bool* found, uint32_t* id);

bool latentd_tokenizer_is_special(const latentd_tokenizer* tokenizer, uint32_t id);

// One above the largest id, added tokens included; at most 2^24.
uint32_t latentd_tokenizer_vocab_size(const latentd_tokenizer* tokenizer);

// How many spaces decoding takes from the beginning of a text.
uint32_t latentd_tokenizer_leading_spaces(const latentd_tokenizer* tokenizer);

// What one rendering may use.
typedef struct latentd_template_limits {
  uint64_t fuel;          // instructions, about
  uint64_t output_bytes;  // of the result, and of any one string made on the way
  uint64_t memory_bytes;  // held at once
  uint64_t cpu_ms;        // processor time
} latentd_template_limits;

// A Jinja template (UTF-8), checked for syntax, with trim_blocks and lstrip_blocks.
// *out is the caller's, freed with latentd_template_free.
char* latentd_template_new(const uint8_t* source, size_t size, latentd_template** out);
void latentd_template_free(latentd_template* chat_template);

// Renders with the variables of a JSON object. `now_unix_seconds` is what strftime_now tells, in
// local time. A rendering over a limit ends with an error, and *over_limit says that it is this
// one. One that does not stop is left behind on its own thread, and until it ends further calls for
// the same template are such errors.
char* latentd_template_render(const latentd_template* chat_template, const uint8_t* context_json,
                              size_t size, const latentd_template_limits* limits,
                              int64_t now_unix_seconds, latentd_text_bytes* out, bool* over_limit);

// The tokens of a tokenizer, ready for constraints.
typedef struct latentd_vocabulary latentd_vocabulary;
// A grammar and how far a text has come in it. One thread at a time; clones are independent.
typedef struct latentd_constraint latentd_constraint;

// `end_ids` (one at least) are the tokens that end a text. They and the special tokens are never
// part of one. *out is the caller's, freed with latentd_vocabulary_free; the tokenizer may go
// before it, and it before its constraints.
char* latentd_vocabulary_new(const latentd_tokenizer* tokenizer, const uint32_t* end_ids,
                             size_t num_end_ids, latentd_vocabulary** out);
void latentd_vocabulary_free(latentd_vocabulary* vocabulary);

// What the source of a constraint is, all of it UTF-8.
typedef enum latentd_constraint_kind {
  LATENTD_CONSTRAINT_JSON_SCHEMA = 0,  // a JSON Schema; a $ref stays inside it
  LATENTD_CONSTRAINT_REGEX = 1,   // a regex in the syntax of Rust's regex crate, for the whole text
  LATENTD_CONSTRAINT_CHOICE = 2,  // a JSON array of strings, of which the text is one
  LATENTD_CONSTRAINT_LARK = 3,    // a Lark grammar in llguidance's dialect
} latentd_constraint_kind;

// What one constraint may use.
typedef struct latentd_constraint_limits {
  uint64_t source_bytes;  // of the source
  uint64_t memory_bytes;  // held by it and its clones, at any time
  uint64_t cpu_ms;        // processor time of the compilation
  uint64_t wall_ms;       // until the compilation's end
} latentd_constraint_limits;

// Compiles `source`. *out is the caller's, freed with latentd_constraint_free. A compilation over
// the limits ends with an error; one that does not stop is left behind on its own thread, of which
// there are at most four for one vocabulary: then further calls are errors until one has ended.
char* latentd_constraint_new(const latentd_vocabulary* vocabulary, uint32_t kind,
                             const uint8_t* source, size_t size,
                             const latentd_constraint_limits* limits, latentd_constraint** out);
char* latentd_constraint_clone(const latentd_constraint* constraint, latentd_constraint** out);
void latentd_constraint_free(latentd_constraint* constraint);

// Which tokens may come next: bit i % 32 of words[i / 32] is token i's. num_words is at least
// ceil(vocab_size / 32); what is beyond the vocabulary becomes 0. Bounded work. After an error of
// this or the next two functions, other than a refused token, every call but free is an error.
char* latentd_constraint_mask(latentd_constraint* constraint, uint32_t* words, size_t num_words);

// The text goes on with token `id`. An error, and no change, where the mask does not have it.
char* latentd_constraint_commit(latentd_constraint* constraint, uint32_t id);

// *accepting: the text may end here. *finished: it can only end here (as far as is known before the
// mask is made), or has.
char* latentd_constraint_state(latentd_constraint* constraint, bool* accepting, bool* finished);

#ifdef __cplusplus
}
#endif

#endif  // LATENTD_TEXT_H_
