// Token ids to text as they are generated, one at a time.
#pragma once

#include <cstdint>
#include <string>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace latentd {

// Gives out text as soon as it is final: whole characters only. What all Push calls and Flush gave,
// concatenated, is what decoding all ids at once gives. Costs the token's bytes, whatever came
// before. Not thread-safe. Borrows the tokenizer.
class IncrementalDecoder {
 public:
  struct Options {
    bool skip_special = true;
    // True: the ids are a text of their own, and the result equals Tokenizer::Decode. False: they
    // go on after a prompt, and a first token " word" keeps its space.
    bool at_text_start = false;
  };

  IncrementalDecoder(const Tokenizer* tokenizer, const Options& options);

  // The text that became final with token `id`; empty while a character is unfinished.
  std::string Push(uint32_t id);

  // U+FFFD for an unfinished character, else empty. Call once, after the last Push.
  std::string Flush();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  uint32_t spaces_to_strip_;  // still to be taken from the beginning of the text
  Utf8Stream utf8_;
};

}  // namespace latentd
