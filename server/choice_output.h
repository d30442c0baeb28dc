// The text of one choice: from its tokens to what may be shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/text/detokenizer.h"
#include "engine/text/stop_strings.h"

namespace latentd {

class Tokenizer;

struct OutputOptions {
  std::vector<std::string> stops;
  bool include_stop = false;  // the stop string, or the text of the token that stops, is shown
  bool skip_special = true;
  uint32_t min_tokens = 0;  // stop strings that end within the first min_tokens do not count
  std::vector<uint32_t> end_tokens;  // eos and stop tokens, ascending
};

// Not thread-safe. Borrows the tokenizer.
class ChoiceOutput {
 public:
  ChoiceOutput(const Tokenizer* tokenizer, const OutputOptions* options);

  // Appends to *text what may be shown after the next token. The index of the stop string that is
  // now complete, if any: then the choice is over, and nothing more is called.
  std::optional<size_t> Push(uint32_t token, std::string* text);
  // The same for what was held back, when the engine ended the choice.
  std::optional<size_t> Finish(std::string* text);

 private:
  std::optional<size_t> Match(const std::string& piece, std::string* text);

  const OutputOptions* options_;
  IncrementalDecoder decoder_;
  StopMatcher matcher_;
  uint32_t num_tokens_ = 0;
};

}  // namespace latentd
