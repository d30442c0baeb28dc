#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "engine/text/c_abi.h"
#include "engine/text/chat_template.h"
#include "tests/engine/text/test_data.h"

namespace latentd {
namespace {

using testing::kTimelessMs;

constexpr auto kLimit = absl::StatusCode::kResourceExhausted;
constexpr auto kFailure = absl::StatusCode::kInvalidArgument;

// What is said of a template that does not parse, or whose rendering ends with `code`. What goes
// over the limits does so for every conversation, and is found out at the start.
std::string Error(const std::string& jinja, absl::StatusCode code = kLimit,
                  uint64_t cpu_ms = kTimelessMs) {
  const auto chat = ChatTemplate::FromJson("", jinja, cpu_ms);
  if (!chat.ok()) return std::string(chat.status().message());
  const auto text = (*chat)->Render({.messages = {{.role = "user", .content = "x"}}});
  CHECK(text.status().code() == code);
  CHECK((*chat)->CheckEnds().code() == (code == kLimit ? kLimit : absl::StatusCode::kOk));
  return std::string(text.status().message());
}

std::string Loop(int times, const std::string& body) {
  return "{% for i in range(" + std::to_string(times) + ") %}" + body + "{% endfor %}";
}

const std::string kStart = "{% set ns = namespace(x='ab', l=[1], m={}) %}{% set n = 4000000 %}";

TEST_CASE("A template that loops runs out of steps", "[text]") {
  const std::string kSteps = "chat template: it takes too many steps";
  CHECK(Error(Loop(100000, Loop(100000, ""))) == kSteps);
  CHECK(Error(Loop(100000, Loop(100000, std::string(1000, 'x')))) ==
        "chat template: line 1: it takes too much memory");
  CHECK(Error("{% set x %}" + Loop(100000, Loop(100000, "x")) + "{% endset %}") == kSteps);
}

TEST_CASE("A template has its processor time and no more", "[text]") {
  // Far fewer steps than it may take, each of which writes 4 MB: seconds, of which it is given a
  // hundredth. Past twice its time it is stopped by force, which a busy machine may notice first.
  CHECK_THAT(Error(kStart + Loop(20000, "{% set x = 'a' * n %}"), kLimit, 20),
             Catch::Contains("it takes too long") ||
                 Catch::Contains("it takes too much time and could not be stopped"));
}

TEST_CASE("A template that explodes meets a limit", "[text]") {
  const std::string bytes = "it makes more than 4194304 bytes";
  const std::string items = "it makes a value of more than 262144 items";
  const std::string deep = "it nests values deeper than 256";
  const std::string memory = "it takes too much memory";
  const auto expect = [](const std::string& jinja, const std::string& error,
                         absl::StatusCode code = kLimit) {
    INFO(jinja.substr(0, 100));
    CHECK_THAT(Error(kStart + jinja, code), Catch::Contains(error));
  };
  expect(Loop(100, "{% set ns.x = ns.x ~ ns.x %}"), bytes);
  expect(Loop(100, "{% set ns.x = ns.x + ns.x %}"), bytes);
  expect(Loop(100, "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"), bytes);
  expect(Loop(100, "{% set ns.x = ns.x | replace('a', 'aaaa') %}"), "replace makes more than");
  expect("{{ ('a' * n).replace('a', 'b' * n) }}", "replace makes more than");
  expect("{{ ('a' * n) | replace('', 'b' * n) }}", "replace makes more than");
  expect("{{ range(1000) | join('b' * n) }}", "join makes more than");
  expect("{{ ('b' * n).join(range(1000)) }}", "join makes more than");
  expect("{{ 'a' * 90000000 }}", memory);
  expect("{{ ('a' * (n * 20)) | length }}", memory);
  expect("{{ 'x' | indent(1000000000) }}", "indent: the width", kFailure);
  expect(Loop(100, "{% set ns.l = ns.l + ns.l %}"), items);
  expect("{{ [1] * 90000000 }}", items);
  expect("{{ [[1] * 90000000] }}", items);
  expect(Loop(100, "{% set ns.l = [ns.l, ns.l] %}"), items);
  expect(Loop(100, "{% set ns.l = {'a': ns.l, 'b': ns.l} %}"), items);
  expect(Loop(100000, "{% set ns.l = [ns.l] %}"), deep);
  expect(Loop(100000, "{% set ns.m = dict(x=ns.m) %}"), deep);
  expect("{% set ns.x = ns %}{{ ns }}", "a namespace into a namespace", kFailure);
  expect("{% set ns.x = [ns] %}{{ ns == ns.x }}", "a namespace into a namespace", kFailure);
  expect("{{ range(10000000000) }}", "range has too many elements", kFailure);
  expect("{{ 2 ** 100000000 }}", "unable to calculate", kFailure);
}

TEST_CASE("Recursion ends", "[text]") {
  const std::string limit = "recursion limit exceeded";
  CHECK_THAT(Error("{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}"),
             Catch::Contains(limit));
  CHECK_THAT(Error("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}"),
             Catch::Contains(limit));
  const std::string open(5000, '(');
  CHECK_THAT(Error("{{ " + open), Catch::Contains("recursion"));
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "{% if 1 %}";
  CHECK_THAT(Error(blocks), Catch::Contains("recursion"));
  CHECK_THAT(Error(std::string((1 << 20) + 1, 'x')), Catch::Contains("longer than 1048576 bytes"));
}

TEST_CASE("A template that goes over its limits is named with its file", "[text]") {
  const std::string endless = Loop(100000, Loop(100000, ""));
  const std::string cause =
      ": chat template: it takes too many steps, even for a conversation of a few words";
  const auto check = [](std::string_view config, std::string_view jinja) {
    const auto chat = ChatTemplate::FromJson(config, jinja, kTimelessMs);
    REQUIRE(chat.ok());
    return (*chat)->CheckEnds();
  };
  CHECK(check("", endless).message() == "chat_template.jinja" + cause);
  CHECK(check("{\"chat_template\": \"" + endless + "\"}", "").message() ==
        "tokenizer_config.json" + cause);
  // One that is found out by a system message, or by a reply, alone.
  for (const std::string role : {"system", "assistant"}) {
    CHECK(check("", "{% for m in messages %}{% if m.role == '" + role + "' %}" + endless +
                        "{% endif %}{% endfor %}")
              .code() == kLimit);
  }
  // These refuse, or fail, which others of the conversations to come may not make them do.
  for (const std::string jinja :
       {"{{ raise_exception('it takes too many steps') }}", "{{ messages[7].content.x }}",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}ok"}) {
    CHECK(check("", jinja) == absl::OkStatus());
  }
}

TEST_CASE("A long conversation stays within the limits", "[text]") {
  const auto chat = ChatTemplate::FromJson(
      "",
      "{% for m in messages %}{% if m.role == 'user' %}{{ '<u>' + m.content }}{% else %}{{ "
      "'<a>' + m.content | trim }}{% endif %}{% endfor %}",
      kTimelessMs);
  REQUIRE(chat.ok());
  ChatInput input;
  for (int i = 0; i < 20000; ++i) {
    input.messages.push_back(
        {.role = i % 2 ? "assistant" : "user", .content = std::string(300, 'y')});
  }
  const auto text = (*chat)->Render(input);
  INFO(text.status().ToString());
  REQUIRE(text.ok());
  CHECK(text->size() == 20000 * 303);
}

// Memory so tight that the first allocation of the rendering is refused, which nothing can handle.
TEST_CASE("A rendering that cannot be stopped is left behind, and the next one refused", "[text]") {
  const std::string source = "{{ x }}", context = "{\"x\": 1}";
  latentd_template* chat = nullptr;
  REQUIRE(TakeTextError("", latentd_template_new(TextData(source), source.size(), &chat)).ok());
  latentd_template_limits limits = {
      .fuel = 1000, .output_bytes = 1000, .memory_bytes = 1 << 20, .cpu_ms = 1000};
  const auto render = [&] {
    latentd_text_bytes text;
    bool over_limit = false;
    const absl::Status status =
        TakeTextError("", latentd_template_render(chat, TextData(context), context.size(), &limits,
                                                  0, &text, &over_limit));
    CHECK(over_limit == !status.ok());
    return status.ok() ? TakeTextBytes(text) : std::string(status.message());
  };
  CHECK(render() == "1");
  limits.memory_bytes = 1;
  CHECK(render() == ": it takes too much memory and could not be stopped");
  limits.memory_bytes = 1 << 20;
  CHECK(render() == ": earlier work that went over its limits has not ended");
  latentd_template_free(chat);
}

}  // namespace
}  // namespace latentd
