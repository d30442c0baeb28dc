// Where option values come from: config file, environment, flags.
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "server/cli/read_file.h"
#include "server/options.h"

namespace latentd {
namespace {

using nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

absl::Status Apply(const OptionSpec& spec, std::string_view value, const std::string& source,
                   Options* options) {
  absl::Status status = spec.set(*options, value);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(fmt::format("{} {}", source, std::string(status.message())));
}

// Values that one source gives, with the names that its errors use.
struct Given {
  const OptionSpec* spec;
  std::string value, name;
};

// The object that `text` is; nlohmann's parser alone would keep the last of two equal keys.
absl::StatusOr<json> ParseConfig(const std::string& path, const std::string& text) {
  std::set<std::string> seen;
  std::string twice;
  const auto look = [&](int depth, json::parse_event_t event, const json& key) {
    if (event == json::parse_event_t::key && depth == 1 &&
        !seen.insert(key.get<std::string>()).second) {
      twice = key.get<std::string>();
    }
    return true;
  };
  json config = json::parse(text, look, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return absl::DataLossError(fmt::format("config file {} is not a JSON object", path));
  }
  if (!twice.empty()) {
    return absl::DataLossError(fmt::format("config file {} has the key {} twice", path, twice));
  }
  return config;
}

absl::StatusOr<std::vector<Given>> ReadConfigFile(const std::string& path, OptionScope scope) {
  const absl::StatusOr<std::string> text = ReadWholeFile("config file", path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  const absl::StatusOr<json> config = ParseConfig(path, *text);
  if (!config.ok()) return config.status();
  std::vector<Given> all;
  for (const auto& [key, value] : config->items()) {
    const OptionSpec* spec = nullptr;
    for (const OptionSpec& candidate : OptionTable()) {
      if (ConfigKey(candidate.name) == key) spec = &candidate;
    }
    const std::string name = fmt::format("config file {}: {}", path, key);
    if (spec == nullptr) return absl::InvalidArgumentError(name + " is no option");
    if (!value.is_string() && !value.is_number_integer()) {
      return absl::InvalidArgumentError(name + " needs a string or a whole number");
    }
    if ((spec->scope & scope) == 0) continue;
    all.push_back({spec, value.is_string() ? value.get<std::string>() : value.dump(), name});
  }
  return all;
}

std::vector<Given> ReadEnvironment(const std::function<const char*(const char*)>& getenv,
                                   OptionScope scope) {
  std::vector<Given> all;
  for (const OptionSpec& spec : OptionTable()) {
    if ((spec.scope & scope) == 0) continue;
    const std::string name = EnvironmentName(spec.name);
    if (const char* value = getenv(name.c_str())) all.push_back({&spec, value, name});
  }
  return all;
}

// Both options size the cache: what one source says of it replaces what lower ones said, by either.
absl::Status ApplySource(const std::vector<Given>& source, Options* options) {
  const int64_t tokens = std::exchange(options->cache_tokens, 0);
  const int64_t memory = std::exchange(options->cache_memory_bytes, 0);
  for (const Given& given : source) {
    if (auto status = Apply(*given.spec, given.value, given.name, options); !status.ok()) {
      return status;
    }
  }
  if (options->cache_tokens != 0 && options->cache_memory_bytes != 0) {
    return absl::InvalidArgumentError(
        "--cache-tokens and --cache-memory both size the cache; give one of them");
  }
  if (options->cache_tokens == 0 && options->cache_memory_bytes == 0) {
    options->cache_tokens = tokens;
    options->cache_memory_bytes = memory;
  }
  return absl::OkStatus();
}

// What concerns more than one option.
absl::Status CheckTogether(const Options& o) {
  if (o.max_num_batched_tokens < o.max_num_seqs + 64) {
    return absl::InvalidArgumentError(
        fmt::format("--max-num-batched-tokens {} is below --max-num-seqs + 64 = {}",
                    o.max_num_batched_tokens, o.max_num_seqs + 64));
  }
  if (o.width_kv != 0 && o.elastic_policy == "pressure") {
    return absl::InvalidArgumentError(
        "--width and --elastic-policy pressure both choose the width of requests that name none; "
        "give one of them");
  }
  return absl::OkStatus();
}

// What only the CPU back end does.
absl::Status CheckDevice(const Options& o) {
  if (o.device == "cpu") return absl::OkStatus();
  if (o.cache_format != "bf16") {
    return absl::InvalidArgumentError(
        fmt::format("--cache-format {} needs --device cpu: --device cuda stores latents as bf16",
                    o.cache_format));
  }
  if (!o.cpu_path.empty()) {
    return absl::InvalidArgumentError(
        "--cpu-path needs --device cpu: --device cuda has one path of its own");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ResolveOptions(OptionScope scope, const std::string& config_path,
                            const std::function<const char*(const char*)>& getenv,
                            const FlagValues& flags, Options* options) {
  absl::Status status;
  if (!config_path.empty()) {
    const auto file = ReadConfigFile(config_path, scope);
    status = file.ok() ? ApplySource(*file, options) : file.status();
  }
  if (status.ok()) status = ApplySource(ReadEnvironment(getenv, scope), options);
  std::vector<Given> given;
  for (const auto& [spec, value] : flags) {
    given.push_back({spec, value, fmt::format("--{}", spec->name)});
  }
  if (status.ok()) status = ApplySource(given, options);
  // bench and inspect have no scheduler.
  if (status.ok() && (scope & (kScopeServe | kScopeText)) != 0) status = CheckTogether(*options);
  return status.ok() ? CheckDevice(*options) : status;
}

}  // namespace latentd
