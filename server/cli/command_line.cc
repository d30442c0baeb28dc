#include "server/cli/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "server/cli/rank_range.h"

namespace latentd {
namespace {

// What the flags of one subcommand gave, before they are resolved with environment and config file.
struct Given {
  FlagValues flags;
  std::string config;
  std::string model_dir;  // positional
};

void AddOptions(CLI::App* app, OptionScope scope, Given* given) {
  for (const OptionSpec& spec : OptionTable()) {
    if ((spec.scope & scope) == 0) continue;
    const std::string shown = spec.show(Options{});
    app->add_option_function<std::string>(
           fmt::format("--{}", spec.name),
           [given, &spec](const std::string& value) { given->flags.emplace_back(&spec, value); },
           shown.empty() ? std::string(spec.help) : fmt::format("{} [{}]", spec.help, shown))
        ->group(std::string(spec.group))
        ->type_name(std::string(spec.metavar))
        ->take_last();
  }
  app->add_option("--config", given->config, "settings from a JSON file (configs/*.json)")
      ->group("Model")
      ->type_name("FILE");
}

// A flag whose values `parse` turns into what `use` takes; a bad one is a usage error.
template <typename Parse, typename Use>
CLI::Option* AddParsed(CLI::App* app, const char* flag, Parse parse, Use use, const char* help) {
  CLI::Option* option = app->add_option_function<std::vector<std::string>>(
      flag,
      [=](const std::vector<std::string>& values) {
        for (const std::string& value : values) {
          auto parsed = parse(value);
          if (!parsed.ok()) {
            throw CLI::ValidationError(flag, std::string(parsed.status().message()));
          }
          use(*std::move(parsed));
        }
      },
      help);
  // One value after each flag: the next word may be a file.
  return option->allow_extra_args(false);
}

void AddWidth(CLI::App* app, std::optional<v1::Width>* width) {
  AddParsed(
      app, "--width", ParseWidth, [=](v1::Width parsed) { *width = parsed; },
      "ranks of an elastic model [full]")
      ->group("Text")
      ->type_name("Q,KV")
      ->take_last();
}

void AddGenerate(CLI::App* app, GenerateCommand* command) {
  app->add_option("-p,--prompt", command->prompt, "text to continue")->required()->group("Text");
  app->add_option("--max-tokens", command->max_tokens, "most tokens to generate [16]")
      ->check(CLI::PositiveNumber)
      ->group("Text");
  app->add_option("--temperature", command->temperature, "0 is greedy [the model's, else 1]")
      ->group("Text");
  app->add_option("--seed", command->seed, "for reproducible sampling [random]")->group("Text");
  AddWidth(app, &command->width);
}

void AddScore(CLI::App* app, ScoreCommand* command) {
  app->add_option("file", command->file, "text to score")->required()->type_name("FILE");
  app->add_option("--stride", command->stride, "tokens between windows [the window: no overlap]")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->group("Text")
      ->type_name("N");
  AddWidth(app, &command->width);
  CLI::Option* hash =
      app->add_flag("--hash", command->hash, "a digest of the logits, to compare two machines")
          ->group("Text");
  CLI::Option* grid =
      app->add_flag("--grid", command->grid, "perplexity at every pair of query and latent ranks")
          ->group("Sweep")
          ->excludes("--width")
          ->excludes(hash);
  const auto ranks = [&](const char* flag, std::vector<uint32_t>* values, const char* help) {
    AddParsed(
        app, flag, ParseRanks, [=](std::vector<uint32_t> parsed) { *values = std::move(parsed); },
        help)
        ->group("Sweep")
        ->type_name("FROM:TO:STEP")
        ->take_last()
        ->needs(grid);
  };
  ranks("--q", &command->q, "query ranks: ranges, single ranks, commas [those listed]");
  ranks("--kv", &command->kv, "latent ranks, likewise; one rank on an axis draws a line");
  app->add_option("--csv", command->csv, "write the numbers")
      ->group("Sweep")
      ->type_name("FILE")
      ->needs(grid);
  app->add_option("--svg", command->svg, "draw a heat map, or a line")
      ->group("Sweep")
      ->type_name("FILE")
      ->needs(grid);
}

void AddBench(CLI::App* app, BenchCommand* command) {
  const auto list = [app](const char* flag, std::vector<int64_t>* values, const char* help,
                          int64_t least, int64_t most = int64_t{1} << 24) {
    AddParsed(
        app, flag, [=](std::string_view text) { return ParseCounts(text, least, most); },
        [=](std::vector<int64_t> parsed) { *values = std::move(parsed); }, help)
        ->group("Work")
        ->type_name("N[,N...]")
        ->take_last();
  };
  list("--depth", &command->depths, "cached tokens before the work [0]", 0);
  list("--prefill", &command->prefills, "new tokens of a prompt [512]", 1);
  list("--batch", &command->batches, "sequences of a decode step [1]", 1);
  list("--thread-counts", &command->thread_counts,
       "compute threads of the CPU, in turn [--threads]", 1, 1024);
  AddParsed(
      app, "--width", ParseWidth, [=](v1::Width parsed) { command->widths.push_back(parsed); },
      "ranks of an elastic model; can be repeated [full]")
      ->group("Work")
      ->type_name("Q,KV")
      ->take_all();
  app->add_option("--repeat", command->repeat, "rounds over all works [5]")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 20))
      ->take_last()
      ->group("Work");
  app->add_flag("--synthetic-cache", command->synthetic_cache,
                "fill the cache with random latents instead of computing them")
      ->group("Work");
  app->add_option("--random-weights", command->random_weights,
                  "a config.json: random weights of that shape, no checkpoint")
      ->group("Work")
      ->type_name("FILE");
  app->add_flag("--json", command->json, "as JSON")->group("Work");
}

int Fail(const std::string& sentence) {
  std::fprintf(stderr, "latentd: %s\n", sentence.c_str());
  return 2;
}

// CLI11's messages may have several lines; the last line of stderr is one sentence.
std::string OneLine(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

// A first word that is no command; "" if it is one, or a flag. CLI11 would not name it.
std::string UnknownCommand(const CLI::App& app, const std::string& word) {
  const auto has_this_name = [&](const CLI::App* command) { return command->get_name() == word; };
  if (word.starts_with('-') || !app.get_subcommands(has_this_name).empty()) return "";
  if (word == "gateway") return "gateway comes with a later version.";
  return fmt::format("'{}' is no command; there are serve, generate, score, inspect and bench.",
                     OneLine(word));
}

}  // namespace

std::string_view Version() { return LATENTD_VERSION; }

std::optional<CommandLine> ParseCommandLine(int argc, char** argv, int* exit_status) {
  CLI::App app("latentd serves language models with multi-head latent attention.", "latentd");
  app.set_version_flag("--version", fmt::format("latentd {}", Version()));
  app.require_subcommand(1);
  Given given;
  GenerateCommand generate;
  ScoreCommand score;
  InspectCommand inspect;
  BenchCommand bench;

  CLI::App* serve = app.add_subcommand("serve", "serve a model over gRPC and HTTP");
  serve->add_option("model_dir", given.model_dir, "model folder, as --model")->type_name("DIR");
  AddOptions(serve, kScopeServe, &given);
  CLI::App* generating = app.add_subcommand("generate", "one completion on the terminal, streamed");
  AddGenerate(generating, &generate);
  AddOptions(generating, kScopeText, &given);
  CLI::App* scoring = app.add_subcommand("score", "log-likelihood and perplexity of a text");
  AddScore(scoring, &score);
  AddOptions(scoring, kScopeText, &given);
  CLI::App* inspecting =
      app.add_subcommand("inspect", "family, geometry, parameters and cache cost of a model");
  inspecting->add_option("dir", given.model_dir, "model folder, as --model")->type_name("DIR");
  inspecting->add_flag("--json", inspect.json, "as JSON");
  inspecting->add_option("--memory", inspect.memory_bytes, "say what fits in it: 16G, 80GiB, bytes")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50))
      ->type_name("BYTES");
  AddOptions(inspecting, kScopeInspect, &given);

  CLI::App* benching =
      app.add_subcommand("bench", "prefill and decode speed, against the machine's roofs");
  AddBench(benching, &bench);
  AddOptions(benching, kScopeBench, &given);

  *exit_status = 2;
  if (argc < 2) {
    std::fprintf(stderr, "%s", app.help().c_str());
    Fail("a command is needed: serve, generate, score, inspect or bench.");
    return std::nullopt;
  }
  if (const std::string sentence = UnknownCommand(app, argv[1]); !sentence.empty()) {
    Fail(sentence);
    return std::nullopt;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      *exit_status = app.exit(error);  // help or version, on stdout
    } else {
      Fail(OneLine(error.what()));
    }
    return std::nullopt;
  }

  CommandLine line;
  OptionScope scope = kScopeServe;
  if (generating->parsed() || scoring->parsed()) scope = kScopeText;
  if (generating->parsed()) line.command = generate;
  if (scoring->parsed()) line.command = score;
  if (inspecting->parsed()) {
    scope = kScopeInspect;
    line.command = inspect;
  }
  if (benching->parsed()) {
    scope = kScopeBench;
    line.command = bench;
  }
  if (generate.temperature &&
      (!std::isfinite(*generate.temperature) || *generate.temperature < 0)) {
    Fail("--temperature needs a finite number of at least 0.");
    return std::nullopt;
  }
  if (!given.model_dir.empty()) {
    for (const OptionSpec& spec : OptionTable()) {
      if (spec.name == "model") given.flags.emplace_back(&spec, given.model_dir);
    }
  }
  const auto environment = [](const char* name) -> const char* { return std::getenv(name); };
  if (given.config.empty() && environment("LATENTD_CONFIG") != nullptr) {
    given.config = environment("LATENTD_CONFIG");
  }
  absl::Status status =
      ResolveOptions(scope, given.config, environment, given.flags, &line.options);
  if (!status.ok()) {
    Fail(std::string(status.message()) + ".");
    if (!absl::IsInvalidArgument(status)) *exit_status = 1;
    return std::nullopt;
  }
  if (line.options.device != "cpu" && !bench.thread_counts.empty()) {
    Fail("--thread-counts needs --device cpu: a device computes without threads of the host.");
    return std::nullopt;
  }
  if (!bench.random_weights.empty() && !line.options.model.empty()) {
    Fail("--random-weights is a model of its own: leave --model out.");
    return std::nullopt;
  }
  *exit_status = 0;
  return line;
}

}  // namespace latentd
