// Input: tokenizer.json. One that is accepted must encode and decode, whole and streamed.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/text/detokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = latentd::Tokenizer::FromJson(json, R"({"bos_token": "<s>"})");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("Hello, Größe 中文 😀 <s> 123\n", true);
  if (!ids.ok()) return 0;
  const std::string whole = (*tokenizer)->Decode(*ids, false);
  latentd::IncrementalDecoder decoder(tokenizer->get(),
                                      {.skip_special = false, .at_text_start = true});
  std::string streamed;
  for (const uint32_t id : *ids) streamed += decoder.Push(id);
  streamed += decoder.Flush();
  if (streamed != whole || !latentd::IsValidUtf8(whole)) std::abort();
  return 0;
}
