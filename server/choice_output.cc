#include "server/choice_output.h"

#include <algorithm>

namespace latentd {

ChoiceOutput::ChoiceOutput(const Tokenizer* tokenizer, const OutputOptions* options)
    : options_(options),
      decoder_(tokenizer, {.skip_special = options->skip_special, .at_text_start = false}),
      matcher_(options->stops, options->include_stop) {}

std::optional<size_t> ChoiceOutput::Push(uint32_t token, std::string* text) {
  ++num_tokens_;
  const bool ends =
      std::binary_search(options_->end_tokens.begin(), options_->end_tokens.end(), token);
  if (ends && !options_->include_stop) return std::nullopt;
  return Match(decoder_.Push(token), text);
}

std::optional<size_t> ChoiceOutput::Finish(std::string* text) {
  const std::optional<size_t> stop = Match(decoder_.Flush(), text);
  if (!stop) text->append(matcher_.Flush());
  return stop;
}

std::optional<size_t> ChoiceOutput::Match(const std::string& piece, std::string* text) {
  matcher_.set_enabled(num_tokens_ > options_->min_tokens || options_->min_tokens == 0);
  StopMatcher::Result result = matcher_.Push(piece);
  text->append(result.text);
  return result.stop_idx;
}

}  // namespace latentd
