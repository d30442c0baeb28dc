// From tokens to text: stops, special tokens, whole characters.
#include <catch2/catch.hpp>
#include <string>

#include "engine/text/utf8.h"
#include "tests/server/generation_fixture.h"

namespace latentd {
namespace {

using Fixture = testing::GenerationFixture;
using testing::Bytes;
using testing::kBos;
using testing::kEos;
using testing::kWord;
using testing::ReadAll;
using testing::TextOf;
using testing::WithStops;

TEST_CASE("A stop string never shows, wherever tokens cut it") {
  Fixture f{WithStops({"END", "ND!"})};
  f.engine->Text("a EN");
  CHECK(TextOf(ReadAll(*f.stream)) == "a ");
  f.engine->Text("D tail");  // the engine was ahead of the match
  auto read = ReadAll(*f.stream);
  CHECK(f.engine->finished == std::vector<uint32_t>{0});
  CHECK(read.messages.empty());
  f.engine->End();
  read = ReadAll(*f.stream);
  REQUIRE(read.messages.size() == 1);
  CHECK(read.messages[0].text().empty());
  CHECK(read.messages[0].finish_reason() == v1::FINISH_REASON_STOP);
  CHECK(read.messages[0].matched_stop() == "END");
  // The stop's tokens count, those after it do not.
  CHECK(read.messages[0].usage().completion_tokens() == 5);
  CHECK(f.metrics.reasons == std::vector<std::string>{"stop"});
}

TEST_CASE("What looked like a stop string is shown when it is none") {
  Fixture f{WithStops({"END"})};
  f.engine->Text("EN");
  CHECK(TextOf(ReadAll(*f.stream)).empty());
  f.engine->Text("x E");
  CHECK(TextOf(ReadAll(*f.stream)) == "ENx ");
  f.engine->Finish(EngineFinish::kLength);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  CHECK(TextOf(read) == "E");
  CHECK(read.messages.back().matched_stop().empty());
  CHECK(read.messages.back().finish_reason() == v1::FINISH_REASON_LENGTH);
}

TEST_CASE("include_stop_string shows the stop string and no more") {
  GenerationSpec spec = WithStops({"END"});
  spec.output.include_stop = true;
  Fixture f{spec};
  f.engine->Text("a END tail");
  f.engine->End();
  CHECK(TextOf(ReadAll(*f.stream)) == "a END");
}

TEST_CASE("min_tokens delays stop strings") {
  GenerationSpec spec = WithStops({"b"});
  spec.output.min_tokens = 2;
  Fixture f{spec};
  f.engine->Text("abab");
  f.engine->End();
  auto read = ReadAll(*f.stream);
  CHECK(TextOf(read) == "aba");
  CHECK(read.messages.back().usage().completion_tokens() == 4);
}

TEST_CASE("The text of the token that stops is left out unless asked for") {
  const bool include = GENERATE(false, true);
  const bool skip = GENERATE(false, true);
  const uint32_t token = GENERATE(kEos, kWord);
  GenerationSpec spec;
  spec.output.include_stop = include;
  spec.output.skip_special = skip;
  spec.output.end_tokens = {kWord, kEos};
  Fixture f{spec};
  f.engine->Text("a");
  f.engine->Token(token);
  f.engine->Finish(EngineFinish::kStop, 0, token);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  std::string shown = "a";
  if (include && token == kWord) shown += " word";
  if (include && token == kEos && !skip) shown += "</s>";
  CAPTURE(include, skip, token);
  CHECK(TextOf(read) == shown);
  const v1::GenerateResponse& last = read.messages.back();
  CHECK(last.finish_reason() == v1::FINISH_REASON_STOP);
  CHECK(last.matched_token_id() == token);
  CHECK(last.usage().completion_tokens() == 2);
}

TEST_CASE("Special tokens inside the text are skipped or shown") {
  for (const bool skip : {true, false}) {
    GenerationSpec spec;
    spec.output.skip_special = skip;
    Fixture f{spec};
    f.engine->Text("a");
    f.engine->Token(kBos);
    f.engine->Text("b");
    f.engine->Finish(EngineFinish::kLength);
    f.engine->End();
    auto read = ReadAll(*f.stream);
    CHECK(TextOf(read) == (skip ? "ab" : "a<s>b"));
    CHECK(read.messages.back().token_ids_size() == 3);
  }
}

TEST_CASE("UTF-8 is never split, and an unfinished character comes out as U+FFFD") {
  Fixture f{GenerationSpec()};
  std::string text;
  for (const uint32_t byte : Bytes("ü€😀\xF0\x9F")) {
    f.engine->Token(byte);
    auto read = ReadAll(*f.stream);
    REQUIRE(read.messages.size() == 1);
    CHECK(IsValidUtf8(read.messages[0].text()));
    text += read.messages[0].text();
  }
  CHECK(text == "ü€😀");
  f.engine->Finish(EngineFinish::kLength);
  f.engine->End();
  CHECK(TextOf(ReadAll(*f.stream)) == "\xEF\xBF\xBD");
}

TEST_CASE("WholeCharacters") {
  CHECK(WholeCharacters("abc", 3) == 3);
  CHECK(WholeCharacters("abc", 2) == 2);
  CHECK(WholeCharacters("a€", 3) == 1);
  CHECK(WholeCharacters("a€", 4) == 4);
  CHECK(WholeCharacters("😀", 3) == 0);
}

}  // namespace
}  // namespace latentd
