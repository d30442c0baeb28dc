// JSON inside a gRPC message is held to what HTTP takes in its place of a body, in the same words.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "server/cat.h"
#include "server/errors.h"
#include "server/http/body.h"
#include "server/validate.h"

namespace latentd {
namespace {

struct Place {
  const char* param;
  const char *before, *after;  // the value's surroundings in a body
  size_t outer_depth;
  void (*set)(const std::string& json, v1::Chat* chat);
};

const Place kPlaces[] = {
    {"chat_template_kwargs",
     R"({"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":)", "}", 1,
     [](const std::string& json, v1::Chat* chat) { chat->set_chat_template_kwargs_json(json); }},
    {"messages[0]", R"({"messages":[)", "]}", 2,
     [](const std::string& json, v1::Chat* chat) {
       chat->mutable_messages(0)->set_extra_json(json);
     }},
    {"messages[0].tool_calls[0]", R"({"messages":[{"role":"user","content":"x","tool_calls":[)",
     "]}]}", 4,
     [](const std::string& json, v1::Chat* chat) {
       chat->mutable_messages(0)->add_tool_calls_json(json);
     }},
};

absl::Status OverHttp(const Place& place, const std::string& json) {
  return ParseChatBody(Cat(place.before, json, place.after), {}).status();
}

absl::Status OverGrpc(const Place& place, const std::string& json) {
  v1::GenerateRequest request;
  v1::Message* message = request.mutable_chat()->add_messages();
  message->set_role("user");
  message->set_content("x");
  place.set(json, request.mutable_chat());
  ServedModel model;
  model.has_chat_template = true;
  return ValidateGenerate(request, model).status();
}

// What is said behind "… is not valid JSON: ", without the place in the text.
std::string Reason(const absl::Status& status) {
  const std::string message(status.message());
  const std::string_view mark = " is not valid JSON: ";
  const size_t at = message.find(mark);
  REQUIRE(at != std::string::npos);
  const size_t begin = at + mark.size();
  return message.substr(begin, message.rfind(" at byte ") - begin);
}

TEST_CASE("Broken JSON in a message has the code and the words that it has in a body") {
  const std::vector<std::string> broken = {
      R"({"a":})",
      R"({"a":1,})",
      R"({'a':1})",
      R"({"a":1,"a":2})",
      R"({"a":1,"\u0061":2})",
      R"({"b":{"a":1,"a":2}})",
      R"({"a":NaN})",
      R"({"a":Infinity})",
      R"({"a":-Infinity})",
      R"({"a":1e999})",
      R"({"a":01})",
      R"({"a":"\ud800"})",
      "{\"a\":\"\xff\"}",
      "{\"a\":\"\xed\xa0\x80\"}",
      "{\"a\":\"\n\"}",
      std::string("{\"a\":\0}", 7),
  };
  for (const Place& place : kPlaces) {
    for (const std::string& json : broken) {
      CAPTURE(place.param, json);
      const absl::Status http = OverHttp(place, json), grpc = OverGrpc(place, json);
      REQUIRE(grpc.code() == absl::StatusCode::kInvalidArgument);
      CHECK(Reason(grpc) == Reason(http));
      CHECK(DetailOf(grpc).code() == DetailOf(http).code());
      CHECK(DetailOf(grpc).param() == place.param);
    }
  }
}

TEST_CASE("A value that is no object is called the same at both doors") {
  for (const Place& place : kPlaces) {
    for (const char* json : {"[1]", "3", "0.5", "true", "\"{}\""}) {
      CAPTURE(place.param, json);
      const absl::Status http = OverHttp(place, json), grpc = OverGrpc(place, json);
      CHECK(std::string(grpc.message()) == std::string(http.message()));
      CHECK(DetailOf(grpc).param() == DetailOf(http).param());
    }
  }
}

TEST_CASE("JSON in a message nests as deep as in a body") {
  for (const Place& place : kPlaces) {
    const size_t arrays = 128 - place.outer_depth - 1;  // the value itself is an object
    const auto nested = [](size_t depth) {
      return Cat(R"({"role":"user","content":"x","k":)", std::string(depth, '['),
                 std::string(depth, ']'), "}");
    };
    CAPTURE(place.param);
    CHECK(OverHttp(place, nested(arrays)) == absl::OkStatus());
    CHECK(OverGrpc(place, nested(arrays)) == absl::OkStatus());
    CHECK(Reason(OverHttp(place, nested(arrays + 1))) == "nested deeper than 128 levels");
    CHECK(Reason(OverGrpc(place, nested(arrays + 1))) == "nested deeper than 128 levels");
  }
}

}  // namespace
}  // namespace latentd
