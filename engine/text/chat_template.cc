#include "engine/text/chat_template.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/text/c_abi.h"
#include "engine/text/model_files.h"
#include "nlohmann/json.hpp"

namespace latentd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kConfigFile[] = "tokenizer_config.json";
constexpr char kJinjaFile[] = "chat_template.jinja";

// Fuel grows with the input (text/src/template.rs); about a second in all on a slow core.
constexpr uint64_t kFuel = 1 << 21;
constexpr uint64_t kOutputBytes = 4 << 20, kMemoryBytes = 64 << 20;
// Legitimate templates hold a few copies of what they are given.
constexpr uint64_t kOutputPerInputByte = 2;
constexpr uint64_t kMemoryPerInputByte = 16;

class Program {
 public:
  static absl::StatusOr<std::unique_ptr<Program>> Parse(std::string_view source,
                                                        std::string_view file, uint64_t cpu_ms) {
    auto program = std::make_unique<Program>(cpu_ms);
    absl::Status status =
        TakeTextError(absl::StrCat(std::string(file), ": chat template"),
                      latentd_template_new(TextData(source), source.size(), &program->ptr_));
    if (!status.ok()) return status;
    return program;
  }
  explicit Program(uint64_t cpu_ms) : cpu_ms_(cpu_ms) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { latentd_template_free(ptr_); }

  absl::StatusOr<std::string> Run(const Json& context, int64_t now_unix_seconds) const {
    // Strings are UTF-8 by the contract; one that is not shows U+FFFD rather than failing.
    const std::string json = context.dump(-1, ' ', false, Json::error_handler_t::replace);
    const latentd_template_limits limits = {
        .fuel = kFuel,
        .output_bytes = std::max(kOutputBytes, kOutputPerInputByte * json.size()),
        .memory_bytes = kMemoryBytes + kMemoryPerInputByte * json.size(),
        .cpu_ms = cpu_ms_};
    latentd_text_bytes text;
    bool over_limit = false;
    absl::Status status = TakeTextError(
        "chat template", latentd_template_render(ptr_, TextData(json), json.size(), &limits,
                                                 now_unix_seconds, &text, &over_limit));
    if (status.ok()) return TakeTextBytes(text);
    return over_limit ? absl::ResourceExhaustedError(status.message()) : status;
  }

 private:
  uint64_t cpu_ms_;
  latentd_template* ptr_ = nullptr;
};

// Sources by name: "default", and "tool_use" where there is one.
struct Sources {
  std::string main;
  std::string tool_use;
};

absl::StatusOr<Sources> FindSources(const Json& config, std::string_view jinja) {
  if (!jinja.empty()) return Sources{std::string(jinja), ""};
  if (!config.is_object() || !config.contains("chat_template")) return Sources{};
  const Json& value = config["chat_template"];
  if (value.is_null()) return Sources{};
  if (value.is_string()) return Sources{value.get<std::string>(), ""};
  Sources sources;
  for (const Json& item : value.is_array() ? value : Json::array()) {
    if (!item.is_object() || !item.contains("name") || !item.contains("template")) continue;
    if (!item["template"].is_string()) continue;
    if (item["name"] == "default") sources.main = item["template"].get<std::string>();
    if (item["name"] == "tool_use") sources.tool_use = item["template"].get<std::string>();
  }
  if (sources.main.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        kConfigFile,
        ": chat_template is neither a string nor a list with a template named \"default\""));
  }
  return sources;
}

// The *_token strings of the configuration: bos_token, eos_token, pad_token, ….
Json TokenVariables(const Json& config) {
  Json variables = Json::object();
  if (!config.is_object()) return variables;
  for (const auto& [key, value] : config.items()) {
    if (!key.ends_with("_token")) continue;
    const Json& text = value.is_object() && value.contains("content") ? value["content"] : value;
    if (text.is_string()) variables[key] = text;
  }
  return variables;
}

absl::StatusOr<Json> ParseObject(std::string_view json, std::string_view what) {
  absl::StatusOr<Json> object = ParseModelJson(json, what);
  if (object.ok() && object->is_null()) object = Json::object();
  return object;
}

// Arguments as an object where they are a string of one; whether there was one.
bool OpenArguments(Json* tool_call) {
  if (!tool_call->contains("function") || !(*tool_call)["function"].is_object()) return false;
  Json& function = (*tool_call)["function"];
  if (!function.contains("arguments") || !function["arguments"].is_string()) return false;
  absl::StatusOr<Json> arguments =
      ParseModelJson(function["arguments"].get_ref<const std::string&>(), "arguments");
  if (!arguments.ok() || arguments->is_null()) return false;
  function["arguments"] = *std::move(arguments);
  return true;
}

absl::StatusOr<Json> MessageJson(const ChatMessage& message, bool open_arguments, bool* opened) {
  absl::StatusOr<Json> extra = ParseObject(message.extra_json, "extra_json of a message");
  if (!extra.ok()) return extra.status();
  Json json = {{"role", message.role}};
  json["content"] = message.content ? Json(*message.content) : Json();
  if (!message.name.empty()) json["name"] = message.name;
  if (!message.tool_call_id.empty()) json["tool_call_id"] = message.tool_call_id;
  for (const std::string& text : message.tool_calls_json) {
    absl::StatusOr<Json> call = ParseObject(text, "tool_calls of a message");
    if (!call.ok()) return call.status();
    if (open_arguments) *opened |= OpenArguments(&*call);
    json["tool_calls"].push_back(*std::move(call));
  }
  for (auto& [key, value] : extra->items()) {
    if (!json.contains(key)) json[key] = value;
  }
  return json;
}

constexpr char kSpaces[] = " \t\n\r\f\v";

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

// transformers' way to find the end of the last message's content in the prompt: it is rendered
// with this behind it. Where the template trims the content, the tag's own space is gone too, and
// the white space before the tag with it.
constexpr std::string_view kTag = "CONTINUE_FINAL_MESSAGE_TAG ";

absl::StatusOr<std::string> CutAtTag(std::string text, std::string_view content) {
  const std::string_view trimmed_tag = Trim(kTag);
  const size_t at = text.rfind(trimmed_tag);
  if (at == std::string::npos || text.find(Trim(content)) == std::string::npos) {
    return absl::InvalidArgumentError(
        "continue_final_message: the chat template does not show the last message as it is");
  }
  const bool is_kept = std::string_view(text).substr(at).starts_with(kTag);
  text.resize(at);
  if (!is_kept) text.resize(text.find_last_not_of(kSpaces) + 1);
  return text;
}

}  // namespace

struct ChatTemplate::Impl {
  std::unique_ptr<Program> main;
  std::unique_ptr<Program> tool_use;  // or null
  Json variables;
  std::string file;  // that the template is from

  // Sets *opened when a tool call's arguments were made an object.
  absl::StatusOr<Json> Context(const ChatInput& input, bool open_arguments, bool* opened) const {
    Json context = variables;
    context["messages"] = Json::array();
    for (const ChatMessage& message : input.messages) {
      absl::StatusOr<Json> json = MessageJson(message, open_arguments, opened);
      if (!json.ok()) return json.status();
      context["messages"].push_back(*std::move(json));
    }
    context["tools"] = nullptr;
    context["documents"] = nullptr;
    for (const std::string& text : input.tools_json) {
      absl::StatusOr<Json> tool = ParseObject(text, "tools");
      if (!tool.ok()) return tool.status();
      context["tools"].push_back(*std::move(tool));
    }
    context["add_generation_prompt"] = input.add_generation_prompt;
    if (input.continue_final_message) {
      // Render made sure that there is a last message with content.
      context["messages"].back()["content"] = *input.messages.back().content + std::string(kTag);
    }
    absl::StatusOr<Json> kwargs = ParseObject(input.kwargs_json, "chat_template_kwargs");
    if (!kwargs.ok()) return kwargs.status();
    for (auto& [key, value] : kwargs->items()) {
      // What the request's own fields say cannot be overridden by a side door.
      if (key == "messages" || key == "tools" || key == "add_generation_prompt" ||
          key == "continue_final_message") {
        return absl::InvalidArgumentError(
            absl::StrCat("chat_template_kwargs: \"", key, "\" is a field of the request"));
      }
      context[key] = value;
    }
    return context;
  }

  absl::StatusOr<std::string> Run(const ChatInput& input, bool open_arguments, bool* opened) const {
    absl::StatusOr<Json> context = Context(input, open_arguments, opened);
    if (!context.ok()) return context.status();
    const auto clock = std::chrono::system_clock::now().time_since_epoch();
    const int64_t now = input.now_unix_seconds.value_or(
        std::chrono::duration_cast<std::chrono::seconds>(clock).count());
    const Program& program = tool_use && !input.tools_json.empty() ? *tool_use : *main;
    return program.Run(*context, now);
  }
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::optional<ChatTemplate>> ChatTemplate::Load(const std::string& model_dir) {
  absl::StatusOr<std::string> config = ReadOptionalModelFile(model_dir, kConfigFile);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::string> jinja = ReadOptionalModelFile(model_dir, kJinjaFile);
  if (!jinja.ok()) return jinja.status();
  return FromJson(*config, *jinja);
}

absl::StatusOr<std::optional<ChatTemplate>> ChatTemplate::FromJson(std::string_view config_json,
                                                                   std::string_view jinja,
                                                                   uint64_t cpu_ms) {
  absl::StatusOr<Json> config = ParseModelJson(config_json, kConfigFile);
  if (!config.ok()) return config.status();
  absl::StatusOr<Sources> sources = FindSources(*config, jinja);
  if (!sources.ok()) return sources.status();
  if (sources->main.empty()) return std::optional<ChatTemplate>();
  auto impl = std::make_unique<Impl>();
  impl->variables = TokenVariables(*config);
  impl->file = jinja.empty() ? kConfigFile : kJinjaFile;
  absl::StatusOr<std::unique_ptr<Program>> main = Program::Parse(sources->main, impl->file, cpu_ms);
  if (!main.ok()) return main.status();
  impl->main = *std::move(main);
  if (!sources->tool_use.empty()) {
    absl::StatusOr<std::unique_ptr<Program>> tool_use =
        Program::Parse(sources->tool_use, impl->file, cpu_ms);
    if (!tool_use.ok()) return tool_use.status();
    impl->tool_use = *std::move(tool_use);
  }
  return std::optional<ChatTemplate>(ChatTemplate(std::move(impl)));
}

absl::StatusOr<std::string> ChatTemplate::Render(const ChatInput& input) const {
  if (input.messages.empty()) return absl::InvalidArgumentError("messages: there are none");
  const ChatMessage& last = input.messages.back();
  if (input.continue_final_message) {
    if (input.add_generation_prompt) {
      return absl::InvalidArgumentError(
          "continue_final_message and add_generation_prompt exclude each other");
    }
    if (!last.content) {
      return absl::InvalidArgumentError("continue_final_message: the last message has no content");
    }
  }
  bool opened = false;
  absl::StatusOr<std::string> text = impl_->Run(input, /*open_arguments=*/true, &opened);
  if (!text.ok() && opened) {
    absl::StatusOr<std::string> again = impl_->Run(input, /*open_arguments=*/false, &opened);
    if (again.ok()) text = std::move(again);
  }
  if (!text.ok() || !input.continue_final_message) return text;
  return CutAtTag(*std::move(text), *last.content);
}

absl::Status ChatTemplate::CheckEnds() const {
  const ChatMessage system = {.role = "system", .content = "Be brief."};
  const ChatMessage user = {.role = "user", .content = "Hello"};
  const ChatMessage assistant = {.role = "assistant", .content = "Hello, too."};
  for (const std::vector<ChatMessage>& messages :
       {std::vector{user}, {system, user}, {user, assistant, user}}) {
    const absl::StatusOr<std::string> text = Render({.messages = messages});
    if (text.status().code() != absl::StatusCode::kResourceExhausted) continue;
    return absl::ResourceExhaustedError(absl::StrCat(impl_->file, ": ", text.status().message(),
                                                     ", even for a conversation of a few words"));
  }
  return absl::OkStatus();
}

}  // namespace latentd
