// What a token costs on its way from text to ids and back, and as JSON: processor time of one
// thread per token, over a text and the tokenizer of a model folder.
//   latentd_token_bench MODEL_FOLDER TEXT_FILE [--rounds N] [--json]
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/tokenizer.h"
#include "kernels/core/check.h"
#include "server/choice_output.h"
#include "server/http/answer.h"
#include "server/token_logprobs.h"

namespace latentd {
namespace {

constexpr size_t kPieceBytes = 4096;  // of text in a prompt

double CpuNanoseconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e9 * static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec);
}

// The text as prompts, and as the messages of a stream of single tokens.
struct Material {
  std::vector<std::string> prompts;
  std::vector<std::vector<uint32_t>> prompt_ids;
  std::vector<uint32_t> ids;
  std::vector<v1::GenerateResponse> messages, scored;  // scored: with five logprobs a token
};

TokenLogprobs FiveLogprobs(uint32_t token) {
  TokenLogprobs logprobs;
  logprobs.chosen = {token, -0.5F, 1};
  for (uint32_t i = 0; i < 5; ++i) logprobs.top.push_back({token + i, -0.5F - 0.7F * i, i + 1});
  return logprobs;
}

Material MakeMaterial(const Tokenizer& tokenizer, const std::string& text) {
  Material material;
  for (size_t begin = 0; begin < text.size(); begin += kPieceBytes) {
    material.prompts.push_back(text.substr(begin, kPieceBytes));
    auto ids = tokenizer.Encode(material.prompts.back(), /*add_special=*/false);
    LATENTD_CHECK(ids.ok());
    material.ids.insert(material.ids.end(), ids->begin(), ids->end());
    material.prompt_ids.push_back(*std::move(ids));
  }
  const OutputOptions options;
  ChoiceOutput output(&tokenizer, &options);
  for (const uint32_t id : material.ids) {
    v1::GenerateResponse message;
    message.set_request_id("cmpl-0123456789abcdef0123456789abcdef");
    message.add_token_ids(id);
    output.Push(id, message.mutable_text());
    material.messages.push_back(message);
    const TokenLogprobs logprobs = FiveLogprobs(id);
    FillTokenLogprob(tokenizer, id, &logprobs, message.add_logprobs());
    material.scored.push_back(std::move(message));
  }
  return material;
}

struct Row {
  std::string what;
  double ns_per_token = 0;     // of the median round
  double bytes_per_token = 0;  // written or read, where it is text
};

// `run` goes over every token once and returns the bytes it dealt with.
Row Measure(std::string what, size_t num_tokens, int64_t rounds,
            const std::function<size_t()>& run) {
  std::vector<double> ns;
  size_t bytes = run();  // first touch
  for (int64_t i = 0; i < rounds; ++i) {
    const double begin = CpuNanoseconds();
    bytes = run();
    ns.push_back((CpuNanoseconds() - begin) / static_cast<double>(num_tokens));
  }
  std::sort(ns.begin(), ns.end());
  return {std::move(what), ns[ns.size() / 2],
          static_cast<double>(bytes) / static_cast<double>(num_tokens)};
}

GenerateCall ParseCall(bool chat, const std::string& body) {
  auto call = chat ? ParseChatBody(body, {}) : ParseCompletionBody(body, {});
  LATENTD_CHECK(call.ok());
  return *std::move(call);
}

AnswerShape MakeShape(const GenerateCall& call) {
  return AnswerShape(call, {"cmpl-0123456789abcdef0123456789abcdef", 1700000000, "latentd-demo",
                            "latentd-0.1.0", false});
}

size_t WriteEvents(const GenerateCall& call, const std::vector<v1::GenerateResponse>& messages) {
  AnswerShape shape = MakeShape(call);
  EventWriter writer(&shape);
  size_t bytes = 0;
  std::string out;
  for (const v1::GenerateResponse& message : messages) {
    out.clear();
    writer.Append(0, message, &out);
    bytes += out.size();
  }
  return bytes;
}

size_t WriteWhole(const GenerateCall& call, const std::vector<v1::GenerateResponse>& messages) {
  AnswerShape shape = MakeShape(call);
  WholeAnswer whole(&shape);
  for (const v1::GenerateResponse& message : messages) whole.Add(0, message);
  size_t bytes = 0;
  for (const std::string_view piece : whole.Body()) bytes += piece.size();
  return bytes;
}

size_t ParseAll(const std::vector<std::string>& bodies) {
  size_t bytes = 0;
  for (const std::string& body : bodies) {
    LATENTD_CHECK(ParseCompletionBody(body, {}).ok());
    bytes += body.size();
  }
  return bytes;
}

size_t DecodeAll(const Tokenizer& tokenizer, const Material& material,
                 const OutputOptions& options) {
  ChoiceOutput output(&tokenizer, &options);
  size_t bytes = 0;
  std::string text;
  for (const uint32_t id : material.ids) {
    text.clear();
    output.Push(id, &text);
    bytes += text.size();
  }
  return bytes;
}

std::vector<Row> MeasureAll(const Tokenizer& tokenizer, const Material& material, int64_t rounds) {
  std::vector<Row> rows;
  const auto measure = [&](std::string what, const std::function<size_t()>& run) {
    rows.push_back(Measure(std::move(what), material.ids.size(), rounds, run));
  };
  measure("tokenise prompts of 4 KiB", [&] {
    size_t bytes = 0;
    for (const std::string& prompt : material.prompts) {
      LATENTD_CHECK(tokenizer.Encode(prompt, false).ok());
      bytes += prompt.size();
    }
    return bytes;
  });
  OutputOptions stops;
  stops.stops = {"\n\n\n", "</s>", "###", "User:"};
  measure("detokenise", [&] { return DecodeAll(tokenizer, material, {}); });
  measure("detokenise, 4 stop strings", [&] { return DecodeAll(tokenizer, material, stops); });

  std::vector<std::string> text_bodies, id_bodies;
  for (const std::string& prompt : material.prompts) {
    text_bodies.push_back(DumpJson({{"prompt", prompt}}));
  }
  for (const auto& ids : material.prompt_ids) id_bodies.push_back(DumpJson({{"prompt", ids}}));
  measure("read a body, prompt as text", [&] { return ParseAll(text_bodies); });
  measure("read a body, prompt as ids", [&] { return ParseAll(id_bodies); });

  const GenerateCall plain = ParseCall(false, R"({"prompt": "x", "stream": true})");
  const GenerateCall scored = ParseCall(false, R"({"prompt": "x", "logprobs": 5})");
  const GenerateCall chat =
      ParseCall(true, R"({"messages": [{"role": "user", "content": "x"}], "stream": true})");
  measure("completion event", [&] { return WriteEvents(plain, material.messages); });
  measure("completion event, 5 logprobs", [&] { return WriteEvents(scored, material.scored); });
  measure("chat event", [&] { return WriteEvents(chat, material.messages); });
  measure("whole completion", [&] { return WriteWhole(plain, material.messages); });
  measure("whole completion, 5 logprobs", [&] { return WriteWhole(scored, material.scored); });
  return rows;
}

int Run(int argc, char** argv) {
  std::string folder, text_file;
  int64_t rounds = 9;
  bool json = false;
  CLI::App app("What a token costs as text and as JSON");
  app.add_option("folder", folder, "model folder with tokenizer.json")->required();
  app.add_option("text", text_file, "UTF-8 text to work on")->required();
  app.add_option("--rounds", rounds, "of which the median counts")->check(CLI::PositiveNumber);
  app.add_flag("--json", json, "a list of objects instead of a table");
  CLI11_PARSE(app, argc, argv);
  const auto tokenizer = Tokenizer::Load(folder);
  std::ifstream file(text_file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!tokenizer.ok() || text.empty()) {
    std::fprintf(stderr, "%s\n",
                 tokenizer.ok() ? (text_file + ": nothing to read").c_str()
                                : std::string(tokenizer.status().message()).c_str());
    return 1;
  }
  const Material material = MakeMaterial(**tokenizer, text);
  const std::vector<Row> rows = MeasureAll(**tokenizer, material, rounds);
  if (!json) std::printf("| per token | CPU ns | bytes |\n|---|---|---|\n");
  for (size_t i = 0; i < rows.size(); ++i) {
    std::printf(json ? "%s{\"what\": \"%s\", \"cpu_ns\": %.1f, \"bytes\": %.1f}"
                     : "%s| %s | %.0f | %.1f |\n",
                !json    ? ""
                : i == 0 ? "[\n  "
                         : ",\n  ",
                rows[i].what.c_str(), rows[i].ns_per_token, rows[i].bytes_per_token);
  }
  if (json) std::printf("\n]\n");
  return 0;
}

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) { return latentd::Run(argc, argv); }
