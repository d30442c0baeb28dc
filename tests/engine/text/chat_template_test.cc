#include "engine/text/chat_template.h"

#include <stdlib.h>
#include <time.h>

#include <string>

#include <catch2/catch.hpp>

#include "tests/engine/text/test_data.h"

namespace latentd {
namespace {

using Json = nlohmann::ordered_json;
using testing::ReadFile;
using testing::ReadGolden;

ChatTemplate FromSource(const std::string& jinja, const std::string& config = "") {
  absl::StatusOr<std::optional<ChatTemplate>> chat =
      ChatTemplate::FromJson(config, jinja, testing::kTimelessMs);
  INFO(chat.status().ToString());
  REQUIRE(chat.ok());
  REQUIRE(chat->has_value());
  return **std::move(chat);
}

ChatMessage MessageFrom(Json json) {
  ChatMessage message;
  message.role = json["role"];
  if (json["content"].is_string()) message.content = json["content"].get<std::string>();
  message.name = json.value("name", "");
  message.tool_call_id = json.value("tool_call_id", "");
  for (const Json& call : json.value("tool_calls", Json::array())) {
    message.tool_calls_json.push_back(call.dump());
  }
  for (const char* key : {"role", "content", "name", "tool_call_id", "tool_calls"}) json.erase(key);
  if (!json.empty()) message.extra_json = json.dump();
  return message;
}

ChatInput InputFrom(const Json& golden, int64_t now) {
  ChatInput input;
  for (const Json& message : golden["messages"]) input.messages.push_back(MessageFrom(message));
  for (const Json& tool : golden.value("tools", Json::array())) {
    input.tools_json.push_back(tool.dump());
  }
  if (golden.contains("kwargs")) input.kwargs_json = golden["kwargs"].dump();
  input.add_generation_prompt = golden.value("add_generation_prompt", true);
  input.continue_final_message = golden.value("continue_final_message", false);
  input.now_unix_seconds = now;
  return input;
}

ChatInput Ask(const std::string& text) { return {.messages = {{.role = "user", .content = text}}}; }

std::string Render(const std::string& jinja, const ChatInput& input) {
  const absl::StatusOr<std::string> text = FromSource(jinja).Render(input);
  return text.ok() ? *text : text.status().ToString();
}

TEST_CASE("Prompts equal those of transformers", "[text]") {
  setenv("TZ", "UTC", 1);
  tzset();
  const Json golden = ReadGolden("templates.json");
  int num_texts = 0;
  for (const Json& item : golden["cases"]) {
    const std::string name = item["template"];
    INFO(name << " with " << item["chat"]);
    const ChatTemplate chat = FromSource(ReadFile("templates/" + name), golden["tokens"].dump());
    const auto text = chat.Render(InputFrom(item, golden["now"]));
    INFO(text.status().ToString());
    REQUIRE(text.ok() == item.contains("text"));
    if (text.ok()) {
      CHECK(*text == item["text"].get<std::string>());
      ++num_texts;
    } else {
      CHECK_THAT(std::string(text.status().message()),
                 Catch::Contains(item["error"].get<std::string>()));
    }
  }
  CHECK(num_texts > 60);
}

TEST_CASE("String arguments are an object to the template, or the string where that fails",
          "[text]") {
  ChatInput input = Ask("?");
  const std::string call = R"({"id": "1", "function": {"name": "f", "arguments": "{\"b\": 1}"}})";
  input.messages.push_back({.role = "assistant", .tool_calls_json = {call}});
  CHECK(Render("{{ messages[1].tool_calls[0].function.arguments.b }}", input) == "1");
  CHECK(Render("{{ '<' + messages[1].tool_calls[0].function.arguments + '>' }}", input) ==
        "<{\"b\": 1}>");
  CHECK(Render("{{ messages[1].content is none }} {{ messages[0].tool_calls is defined }}",
               input) == "True False");
}

TEST_CASE("The template is found in either place", "[text]") {
  const auto load = [](const std::string& config, const std::string& jinja) {
    return FromSource(jinja, config);
  };
  CHECK(*load(R"({"chat_template": "config"})", "").Render(Ask("x")) == "config");
  CHECK(*load(R"({"chat_template": "config"})", "file").Render(Ask("x")) == "file");
  const ChatTemplate named = load(
      R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                            {"name": "default", "template": "plain"}]})",
      "");
  ChatInput input = Ask("x");
  CHECK(*named.Render(input) == "plain");
  input.tools_json = {"{}"};
  CHECK(*named.Render(input) == "tools");
  for (const char* config : {"", "{}", R"({"chat_template": null})"}) {
    const auto none = ChatTemplate::FromJson(config, "");
    REQUIRE(none.ok());
    CHECK_FALSE(none->has_value());
  }
  for (const char* config : {"3", R"({"chat_template": 3})", R"({"chat_template": [1]})",
                             R"({"chat_template": [{"name": "other", "template": "x"}]})"}) {
    CHECK(absl::IsInvalidArgument(ChatTemplate::FromJson(config, "").status()));
  }
}

TEST_CASE("Errors are one line that names the problem", "[text]") {
  const auto load = ChatTemplate::FromJson("", "fine\n{% if %}");
  CHECK(load.status().message() ==
        "chat_template.jinja: chat template: line 2: unexpected end of block");
  const ChatTemplate chat = FromSource("{{ raise_exception('No ' ~ messages[0].role ~ '!') }}");
  CHECK(chat.Render(Ask("x")).status().message() == "chat template: No user!");
  CHECK_THAT(Render("\n\n{{ 1 + 'a' }}", Ask("x")), Catch::Contains("line 3: tried to use +"));
  CHECK_THAT(Render("{{ 'a' | nofilter }}", Ask("x")),
             Catch::Contains("filter nofilter is unknown"));
  ChatInput input = Ask("x");
  input.messages[0].extra_json = "[]";
  CHECK_THAT(Render("x", input), Catch::Contains("extra_json"));
  input = Ask("x");
  input.tools_json = {"no"};
  CHECK_THAT(Render("x", input), Catch::Contains("tools"));
  input = Ask("x");
  input.kwargs_json = R"({"messages": []})";
  CHECK_THAT(Render("x", input), Catch::Contains("chat_template_kwargs: \"messages\""));
  CHECK_THAT(Render("x", {}), Catch::Contains("messages"));
}

TEST_CASE("continue_final_message refuses what cannot be continued", "[text]") {
  ChatInput input = Ask("x");
  input.continue_final_message = true;
  CHECK_THAT(Render("x", input), Catch::Contains("exclude each other"));
  input.add_generation_prompt = false;
  CHECK_THAT(Render("constant", input), Catch::Contains("does not show"));
  CHECK(Render("[{{ messages[0].content }}]", input) == "[x");
  input.messages[0].content = "x \n";
  CHECK(Render("[{{ messages[0].content }}]", input) == "[x \n");
  CHECK(Render("[{{ messages[0].content | trim }}]", input) == "[x");
  input.messages[0].content.reset();
  CHECK_THAT(Render("x", input), Catch::Contains("no content"));
}

TEST_CASE("Templates see neither files nor other templates", "[text]") {
  for (const char* source :
       {"{% include '/etc/hostname' %}", "{% extends '/etc/hostname' %}",
        "{% import '/etc/hostname' as x %}", "{% from '/etc/hostname' import x %}"}) {
    CHECK_THAT(Render(source, Ask("x")), Catch::StartsWith("INVALID_ARGUMENT"));
  }
  CHECK(Render("{{ ''.__class__ is defined }}{{ self is defined }}", Ask("x")) == "FalseFalse");
}

}  // namespace
}  // namespace latentd
