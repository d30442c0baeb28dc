// A tokenizer whose tokens are bytes: id = byte value, so that tests read as text.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace latentd::testing {

inline constexpr uint32_t kBos = 256;   // "<s>", special, opens every text with add_bos
inline constexpr uint32_t kEos = 257;   // "</s>", special, ends every text with add_eos
inline constexpr uint32_t kWord = 258;  // " word", an ordinary token of five bytes
inline constexpr uint32_t kVocabSize = 259;

std::unique_ptr<Tokenizer> MakeByteTokenizer(bool add_bos = true, bool add_eos = false);

// "role: content\n" for each message, then "assistant:" when a generation prompt is wanted.
// Refuses a message with the content "forbidden".
std::unique_ptr<ChatTemplate> MakeChatTemplate();

// The ids of `text` without special tokens.
std::vector<uint32_t> Bytes(std::string_view text);

}  // namespace latentd::testing
