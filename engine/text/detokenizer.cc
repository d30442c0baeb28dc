#include "engine/text/detokenizer.h"

#include <string_view>

namespace latentd {

IncrementalDecoder::IncrementalDecoder(const Tokenizer* tokenizer, const Options& options)
    : tokenizer_(tokenizer),
      skip_special_(options.skip_special),
      spaces_to_strip_(options.at_text_start ? tokenizer->leading_spaces_stripped() : 0) {}

std::string IncrementalDecoder::Push(uint32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_->IsSpecial(id)) return text;
  std::string_view bytes = tokenizer_->TokenBytesView(id);
  while (spaces_to_strip_ > 0 && !bytes.empty()) {
    if (bytes[0] != ' ') {
      spaces_to_strip_ = 0;
      break;
    }
    bytes.remove_prefix(1);
    --spaces_to_strip_;
  }
  utf8_.Append(bytes, &text);
  return text;
}

std::string IncrementalDecoder::Flush() {
  std::string text;
  utf8_.Finish(&text);
  return text;
}

}  // namespace latentd
