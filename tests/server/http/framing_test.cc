// What is not HTTP/1.1 as the door wants it, and what is.
#include <catch2/catch.hpp>
#include <string>

#include "server/cat.h"
#include "tests/server/http/door_fixture.h"

namespace latentd {
namespace {

struct Case {
  const char* name;
  std::string bytes;
  int status;
  const char* message;  // part of the error's, "" for success
  Refusal reason = Refusal::kInvalid;
};

const std::string kBody = R"({"prompt":"hi"})";

std::string Chunked(const std::string& chunks, const std::string& more = "") {
  return Cat("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n",
             "Transfer-Encoding: chunked\r\n", more, "\r\n", chunks);
}

std::string PostWith(const std::string& headers, const std::string& body = kBody) {
  return Cat("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n",
             headers, "\r\n", body);
}

std::string PostAs(const std::string& content_type) {
  return Cat("POST /v1/completions HTTP/1.1\r\nHost: x\r\n", content_type,
             "Content-Length: ", kBody.size(), "\r\n\r\n", kBody);
}

std::vector<Case> RefusedCases() {
  const std::string length = Cat("Content-Length: ", kBody.size(), "\r\n");
  const auto lines = [](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += "a: b\r\n";
    return text;
  };
  return {
      // Request line.
      {"TLS greeting", "\x16\x03\x01\x02\x01", 400, "not an HTTP/1.1 request"},
      {"bare line feeds", "GET /health HTTP/1.1\nHost: x\n\n", 400, "must end with CR LF"},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad version"},
      {"HTTP/1.2", "GET /health HTTP/1.2\r\nHost: x\r\n\r\n", 400, "bad version"},
      {"HTTP/0.9", "GET /health\r\n\r\n", 400, "malformed HTTP request"},
      {"no target", "GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed HTTP request"},
      {"space in target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed HTTP request"},
      {"control in target", "GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"},
      {"relative target", "GET health HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a path"},
      {"CONNECT target", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "must be a path"},
      {"bad method", "G(T /health HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed HTTP request"},
      // Header fields.
      {"no Host", "GET /health HTTP/1.1\r\n\r\n", 400, "Host header is required"},
      {"two Hosts", Get("/health", "Host: x\r\n"), 400, "Host header must not be repeated"},
      {"bad Host", "GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "Host header is malformed"},
      {"space before colon", Get("/health", "A : b\r\n"), 400, "malformed HTTP request"},
      {"no colon", Get("/health", "nonsense\r\n"), 400, "malformed HTTP request"},
      {"empty name", Get("/health", ": b\r\n"), 400, "malformed HTTP request"},
      {"control in value", Get("/health", "A: b\x01\r\n"), 400, "malformed HTTP request"},
      {"too many lines", Get("/health", lines(16)), 431, "at most 16 lines", Refusal::kTooLarge},
      {"header too long", Get("/health", Cat("A: ", std::string(2048, 'x'), "\r\n")), 431,
       "at most 2048 bytes", Refusal::kTooLarge},
      {"endless header", "GET /" + std::string(4096, 'x'), 431, "at most 2048 bytes",
       Refusal::kTooLarge},
      // Lengths.
      {"negative length", PostWith("Content-Length: -1\r\n"), 400, "malformed"},
      {"length with sign", PostWith("Content-Length: +15\r\n"), 400, "malformed"},
      {"hexadecimal length", PostWith("Content-Length: 0xf\r\n"), 400, "malformed"},
      {"empty length", PostWith("Content-Length: \r\n"), 400, "malformed"},
      {"length beyond 64 bits", PostWith("Content-Length: 99999999999999999999\r\n"), 400,
       "malformed"},
      {"two lengths", PostWith(length + "Content-Length: 3\r\n"), 400, "malformed"},
      {"length and chunks", PostWith(length + "Transfer-Encoding: chunked\r\n"), 400, "malformed"},
      {"chunks and length", PostWith("Transfer-Encoding: chunked\r\n" + length), 400, "malformed"},
      {"chunked twice", PostWith("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
       400, "malformed"},
      {"other coding", PostWith("Transfer-Encoding: gzip\r\n"), 501, "only Transfer-Encoding"},
      {"two codings", PostWith("Transfer-Encoding: gzip, chunked\r\n"), 501,
       "only Transfer-Encoding"},
      {"coding in HTTP/1.0",
       "POST /v1/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
       "HTTP/1.0 has no Transfer-Encoding"},
      // Chunks.
      {"chunk size is no number", Chunked("xyz\r\n"), 400, "malformed"},
      {"negative chunk size", Chunked("-5\r\nhello"), 400, "malformed"},
      {"chunk size beyond 64 bits", Chunked("11111111111111111\r\nhello"), 400, "malformed"},
      {"chunk without its end", Chunked("5\r\nhelloXX0\r\n\r\n"), 400, "malformed"},
      {"bare line feed after a chunk's size", Chunked("f\n{\"prompt\":\"hi\"}\n0\n\n"), 400,
       "must end with CR LF"},
      {"bare line feeds in an empty body", Chunked("0\n\n"), 400, "must end with CR LF"},
      {"bare line feed after the last size", Chunked("f\r\n{\"prompt\":\"hi\"}\r\n0\n\n"), 400,
       "must end with CR LF"},
      {"bare line feed after a trailer", Chunked("0\r\nA: b\n\n"), 400, "must end with CR LF"},
      {"endless chunk extension", Chunked("5;a=" + std::string(20000, 'x')), 400, "too long"},
      {"chunks beyond the limit", Chunked("401\r\n"), 413, "at most 1024 bytes",
       Refusal::kTooLarge},
      {"many chunks beyond the limit",
       Chunked(Cat("400\r\n", std::string(1024, 'x'), "\r\n1\r\nx\r\n0\r\n\r\n")), 413,
       "at most 1024 bytes", Refusal::kTooLarge},
      {"length beyond the limit", PostWith("Content-Length: 1025\r\n", ""), 413,
       "at most 1024 bytes", Refusal::kTooLarge},
      {"refused, so not continued",
       PostWith("Content-Length: 1025\r\nExpect: 100-continue\r\n", ""), 413, "at most 1024 bytes",
       Refusal::kTooLarge},
      // Paths, methods, types.
      {"unknown path", Get("/nothing"), 404, "there is nothing at /nothing", Refusal::kNotFound},
      {"trailing slash", Get("/health/"), 404, "nothing at /health/", Refusal::kNotFound},
      {"no model name", Get("/v1/models/"), 404, "nothing at", Refusal::kNotFound},
      {"unknown model", Get("/v1/models/other"), 404, "other\\\" does not exist",
       Refusal::kNotFound},
      {"bad percent-encoding", Get("/v1/models/a%2"), 400, "percent-encoding"},
      {"GET of a POST path", Get("/v1/completions"), 405, "does not serve GET"},
      {"POST of a GET path", Post("/health", ""), 405, "does not serve POST"},
      {"lower case method", "get /health HTTP/1.1\r\nHost: x\r\n\r\n", 405, "does not serve get"},
      {"no content type", PostAs(""), 415, "application/json"},
      {"form", PostAs("Content-Type: application/x-www-form-urlencoded\r\n"), 415,
       "application/json"},
      {"other charset", PostAs("Content-Type: application/json; charset=latin1\r\n"), 415,
       "application/json"},
      {"compressed", PostAs("Content-Type: application/json\r\nContent-Encoding: gzip\r\n"), 415,
       "application/json"},
      {"no body", Post("/v1/completions", ""), 400, "the body is empty"},
      {"bad JSON", Post("/v1/completions", "{"), 400, "not valid JSON"},
  };
}

DoorLimits SmallLimits() {
  DoorLimits limits;
  limits.max_body_bytes = 1024;
  limits.max_header_bytes = 2048;
  limits.max_header_lines = 16;
  return limits;
}

TEST_CASE("refused requests get their status, an error object and one count") {
  DoorFixture fixture(SmallLimits());
  for (const Case& c : RefusedCases()) {
    INFO(c.name);
    const int before = fixture.metrics.refused(), before_reason = fixture.metrics.refused(c.reason);
    RawResponse response;
    REQUIRE_NOTHROW(response = fixture.Ask(c.bytes));
    CHECK(response.status == c.status);
    CHECK_THAT(response.body,
               Catch::StartsWith("{\"error\":{\"message\":\"") && Catch::Contains(c.message));
    CHECK_THAT(response.body, Catch::Contains("\"type\":") && Catch::Contains("\"param\":") &&
                                  Catch::EndsWith("}}"));
    CHECK(response.headers["content-type"] == "application/json");
    CHECK(fixture.metrics.refused() == before + 1);
    CHECK(fixture.metrics.refused(c.reason) == before_reason + 1);
  }
}

TEST_CASE("the exact error object") {
  DoorFixture fixture;
  CHECK(fixture.Ask(Get("/nothing")).body ==
        R"({"error":{"message":"there is nothing at /nothing","type":"invalid_request_error",)"
        R"("param":null,"code":null}})");
  CHECK(fixture.Ask(Post("/v1/completions", R"({"prompt":"a","n":"1"})")).body ==
        R"({"error":{"message":"n must be an integer, not a string",)"
        R"("type":"invalid_request_error","param":"n","code":null}})");
  CHECK(fixture.Ask(Get("/v1/models/other")).body ==
        R"({"error":{"message":"The model \"other\" does not exist; \"org/model\" is served",)"
        R"("type":"invalid_request_error","param":"model","code":"model_not_found"}})");
  CHECK(fixture.Ask(Get("/v1/completions")).headers["allow"] == "POST");
  CHECK(fixture.Ask(Post("/v1/models", "")).headers["allow"] == "GET, HEAD");
}

TEST_CASE("a broken request ends the connection, after the answer") {
  DoorFixture fixture(SmallLimits());
  for (const char* bytes : {"GET /health HTTP/1.1\r\n\r\n", "\r\n\r\n\x16", "nonsense\r\n\r\n"}) {
    RawClient client(fixture.port());
    client.Send(bytes);
    const RawResponse response = client.Read();
    CHECK(response.status == 400);
    CHECK(response.headers.at("connection") == "close");
    CHECK(client.AtEnd());
  }
}

TEST_CASE("a client that is still sending a refused body sees the answer, not a reset") {
  DoorFixture fixture(SmallLimits());
  RawClient client(fixture.port());
  constexpr size_t kBytes = 4 << 20;
  client.Send(PostWith(Cat("Content-Length: ", kBytes, "\r\n"), ""));
  client.TrySend(std::string(kBytes, 'x'));
  CHECK(client.Read().status == 413);
  CHECK(client.AtEnd());
}

struct Served {
  const char* name;
  std::string bytes;
};

TEST_CASE("unusual but right requests are served") {
  DoorFixture fixture(SmallLimits(), [](FakeService* service) { service->answer = AnswerOk; });
  const std::string length = Cat("Content-Length: ", kBody.size(), "\r\n");
  const Served cases[] = {
      {"empty lines first", "\r\n\r\n" + PostWith(length)},
      {"absolute target", Cat("POST http://x/v1/completions?a=b HTTP/1.1\r\nHost: x\r\n",
                              "Content-Type: application/json\r\n", length, "\r\n", kBody)},
      {"query", Cat("POST /v1/completions?api-version=1 HTTP/1.1\r\nHost: x\r\n",
                    "Content-Type: application/json\r\n", length, "\r\n", kBody)},
      {"empty Host", Cat("POST /v1/completions HTTP/1.1\r\nHost:\r\n",
                         "Content-Type: application/json\r\n", length, "\r\n", kBody)},
      {"same length twice", PostWith(length + length)},
      {"charset", PostAs("Content-Type: Application/JSON ; charset=\"UTF-8\"\r\n")},
      {"identity", PostAs("Content-Type: application/json\r\nContent-Encoding: identity\r\n")},
      {"one chunk", Chunked("f\r\n{\"prompt\":\"hi\"}\r\n0\r\n\r\n")},
      {"chunks, extensions and a trailer",
       Chunked("1;x=y\r\n{\r\n00E;z=\"q\"\r\n\"prompt\":\"hi\"}\r\n0\r\nTrailer: t\r\n\r\n")},
      {"line feeds as data of a chunk",
       Chunked("1\r\n\n\r\n1\r\n\n\r\n0f\r\n{\"prompt\":\"hi\"}\r\n00\r\n\r\n")},
      {"limit reached exactly",
       Post("/v1/completions", kBody + std::string(1024 - kBody.size(), ' '))},
  };
  for (const Served& c : cases) {
    INFO(c.name);
    RawResponse response;
    REQUIRE_NOTHROW(response = fixture.Ask(c.bytes));
    CHECK(response.status == 200);
    CHECK_THAT(response.body, Catch::Contains("\"text\":\"ok\""));
    // The same bytes one at a time.
    RawClient slow(fixture.port());
    for (const char byte : c.bytes) slow.Send(std::string_view(&byte, 1));
    REQUIRE_NOTHROW(response = slow.Read());
    CHECK(response.status == 200);
  }
  CHECK(fixture.metrics.refused() == 0);
}

TEST_CASE("a chunked body's end may come in any pieces") {
  DoorFixture fixture(SmallLimits(), [](FakeService* service) { service->answer = AnswerOk; });
  const std::string bytes = Chunked("f\r\n{\"prompt\":\"hi\"}\r\n0\r\n\r\n");
  for (size_t cut = bytes.size() - 12; cut < bytes.size(); ++cut) {
    RawClient client(fixture.port());
    client.Send(bytes.substr(0, cut));
    CHECK(fixture.Ask(Get("/health")).status == 200);  // by now the first part is read
    client.Send(bytes.substr(cut));
    CHECK(client.Read().status == 200);
  }
  RawClient empty(fixture.port());  // the last chunk is the first
  empty.Send(Chunked("0\r\n"));
  CHECK(fixture.Ask(Get("/health")).status == 200);
  empty.Send("\r");
  CHECK(fixture.Ask(Get("/health")).status == 200);
  empty.Send("\n");
  CHECK_THAT(empty.Read().body, Catch::Contains("the body is empty"));
}

TEST_CASE("Expect: 100-continue is answered before the body is sent") {
  DoorFixture fixture(SmallLimits(), [](FakeService* service) { service->answer = AnswerOk; });
  RawClient client(fixture.port());
  client.Send(PostWith(Cat("Expect: 100-Continue\r\nContent-Length: ", kBody.size(), "\r\n"), ""));
  CHECK(client.Read().status == 100);
  client.Send(kBody);
  CHECK(client.Read().status == 200);
  // A client that does not wait gets no interim answer.
  client.Send(PostWith(Cat("Expect: 100-continue\r\nContent-Length: ", kBody.size(), "\r\n")));
  CHECK(client.Read().status == 200);
}

}  // namespace
}  // namespace latentd
