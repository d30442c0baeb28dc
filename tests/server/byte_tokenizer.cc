#include "tests/server/byte_tokenizer.h"

#include <string>

#include "kernels/core/check.h"
#include "nlohmann/json.hpp"

namespace latentd::testing {
namespace {

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
  } else {
    out->push_back(static_cast<char>(0xC0 | code >> 6));
    out->push_back(static_cast<char>(0x80 | (code & 0x3F)));
  }
}

// The printable character that byte-level BPE writes for each byte.
std::vector<std::string> ByteCharacters() {
  std::vector<std::string> characters(256);
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
                           (byte >= 0xAE && byte <= 0xFF);
    AppendUtf8(printable ? byte : next++, &characters[byte]);
  }
  return characters;
}

nlohmann::json Special(uint32_t id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

}  // namespace

std::unique_ptr<Tokenizer> MakeByteTokenizer(bool add_bos, bool add_eos) {
  const std::vector<std::string> characters = ByteCharacters();
  nlohmann::json vocab;
  for (uint32_t byte = 0; byte < 256; ++byte) vocab[characters[byte]] = byte;
  vocab["<s>"] = kBos;
  vocab["</s>"] = kEos;
  vocab[characters[' '] + "word"] = kWord;
  const nlohmann::json byte_level = {{"type", "ByteLevel"},
                                     {"add_prefix_space", false},
                                     {"trim_offsets", true},
                                     {"use_regex", false}};
  const nlohmann::json tokenizer = {{"version", "1.0"},
                                    {"truncation", nullptr},
                                    {"padding", nullptr},
                                    {"added_tokens", {Special(kBos, "<s>"), Special(kEos, "</s>")}},
                                    {"normalizer", nullptr},
                                    {"pre_tokenizer", byte_level},
                                    {"post_processor", nullptr},
                                    {"decoder", byte_level},
                                    {"model",
                                     {{"type", "BPE"},
                                      {"dropout", nullptr},
                                      {"unk_token", nullptr},
                                      {"continuing_subword_prefix", nullptr},
                                      {"end_of_word_suffix", nullptr},
                                      {"fuse_unk", false},
                                      {"byte_fallback", false},
                                      {"vocab", vocab},
                                      {"merges", nlohmann::json::array()}}}};
  const nlohmann::json config = {{"bos_token", "<s>"},
                                 {"eos_token", "</s>"},
                                 {"add_bos_token", add_bos},
                                 {"add_eos_token", add_eos}};
  auto made = Tokenizer::FromJson(tokenizer.dump(), config.dump());
  LATENTD_CHECK(made.ok());
  return *std::move(made);
}

std::unique_ptr<ChatTemplate> MakeChatTemplate() {
  auto made = ChatTemplate::FromJson(
      "",
      "{% for m in messages %}"
      "{% if m.content == 'forbidden' %}{{ raise_exception('not this') }}{% endif %}"
      "{{ m.role }}: {{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}");
  LATENTD_CHECK(made.ok() && made->has_value());
  return std::make_unique<ChatTemplate>(std::move(**made));
}

std::vector<uint32_t> Bytes(std::string_view text) {
  std::vector<uint32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

}  // namespace latentd::testing
