// Input: a chat template, rendered with a conversation that has a little of everything.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/text/chat_template.h"
#include "engine/text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto chat =
      latentd::ChatTemplate::FromJson(R"({"bos_token": "<s>", "eos_token": "</s>"})", source);
  if (!chat.ok() || !chat->has_value()) return 0;
  latentd::ChatInput input;
  input.messages = {
      {.role = "system", .content = "s"},
      {.role = "user", .content = "u\n"},
      {.role = "assistant", .tool_calls_json = {R"({"id": "1", "function": {"name": "f",
                                             "arguments": "{\"a\": [1, 2.5, null]}"}})"}}};
  input.tools_json = {R"({"type": "function", "function": {"name": "f"}})"};
  input.now_unix_seconds = 0;
  const auto text = (*chat)->Render(input);
  if (text.ok() && (text->size() > (4 << 20) || !latentd::IsValidUtf8(*text))) std::abort();
  if (!text.ok() && text.status().message().find('\n') != std::string_view::npos) std::abort();
  return 0;
}
