// Chat messages to prompt text, by the chat template of a model folder.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace latentd {

// One message as the template sees it. An absent content is None to the template, not "".
// Empty name, tool_call_id and tool_calls_json are left out of the message.
struct ChatMessage {
  std::string role = {};
  std::optional<std::string> content = {};
  std::string name = {};
  std::string tool_call_id = {};
  std::vector<std::string> tool_calls_json = {};  // one JSON object each, in OpenAI's shape
  std::string extra_json = {};                    // JSON object of further keys, or empty
};

// What a template is rendered with.
struct ChatInput {
  std::vector<ChatMessage> messages = {};
  std::vector<std::string> tools_json = {};  // one JSON object each; none: `tools` is None
  std::string kwargs_json = {};              // JSON object of further variables, or empty
  bool add_generation_prompt = true;
  // The prompt ends inside the last message, which the model goes on with.
  // REQUIRES for success: the last message has content, and add_generation_prompt is false.
  bool continue_final_message = false;
  std::optional<int64_t> now_unix_seconds = {};  // for strftime_now; absent: the system clock
};

// Immutable; Render may be called from any thread at once. Templates are programs from a model
// folder: they run without access to files, environment or other templates, within limits of steps,
// processor time (about a second), memory and output (4 MiB). A template that breaks them gives an
// error, and nothing outlives the call but, when it could only be stopped by force, one parked
// thread; then further calls are refused as long as that thread lives.
class ChatTemplate {
 public:
  // Reads chat_template.jinja, or else `chat_template` of tokenizer_config.json (a string, or a
  // list of {name, template} of which "default" is used, and "tool_use" when there are tools).
  // bos_token, eos_token and the other *_token strings of tokenizer_config.json become variables.
  // No template: nullopt. INVALID_ARGUMENT: a template that does not parse; the message says where.
  static absl::StatusOr<std::optional<ChatTemplate>> Load(const std::string& model_dir);

  // The same from contents: `config_json` is tokenizer_config.json or empty, and `jinja` replaces
  // the template in it unless empty.
  // `cpu_ms`: the processor time that one rendering may take.
  static absl::StatusOr<std::optional<ChatTemplate>> FromJson(std::string_view config_json,
                                                              std::string_view jinja,
                                                              uint64_t cpu_ms = 1000);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The prompt text. INVALID_ARGUMENT: JSON in the input that is not an object, or what the
  // template refuses (its raise_exception message) or fails on. RESOURCE_EXHAUSTED: the template
  // goes over its limits. A tool call whose `function.arguments` is a string of a JSON object is
  // shown to the template as that object; if the template then fails, it is tried once more with
  // the string.
  absl::StatusOr<std::string> Render(const ChatInput& input) const;

  // Renders a few conversations of a few words. RESOURCE_EXHAUSTED, naming the file: the template
  // goes over its limits even there, so that it is of no use. To refuse them or to fail on them is
  // no error: it may want other ones.
  absl::Status CheckEnds() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace latentd
