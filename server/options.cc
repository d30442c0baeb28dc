#include "server/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <thread>

#include <fmt/format.h>

#include "server/cli/rank_range.h"

namespace latentd {
namespace {

using Set = std::function<absl::Status(Options&, std::string_view)>;
using Show = std::function<std::string(const Options&)>;

absl::Status ParseInteger(std::string_view value, int64_t min, int64_t max, int64_t* out) {
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, *out);
  if (error != std::errc{} || stop != end || *out < min || *out > max) {
    return absl::InvalidArgumentError(
        fmt::format("needs a whole number from {} to {}, not '{}'", min, max, value));
  }
  return absl::OkStatus();
}

// "4096", "64K", "8M", "2G", "1T": powers of 1024.
absl::Status ParseBytes(std::string_view value, int64_t max, int64_t* out) {
  int shift = 0;
  if (!value.empty()) {
    const size_t unit = std::string_view("KMGT").find(
        static_cast<char>(std::toupper(static_cast<unsigned char>(value.back()))));
    if (unit != std::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      value.remove_suffix(1);
    }
  }
  int64_t number = 0;
  if (!ParseInteger(value, 1, max >> shift, &number).ok()) {
    return absl::InvalidArgumentError(
        fmt::format("needs bytes from 1 to {}, with K, M, G or T if wanted", max));
  }
  *out = number << shift;
  return absl::OkStatus();
}

Set Integer(int64_t Options::*field, int64_t min, int64_t max) {
  return [=](Options& o, std::string_view value) {
    return ParseInteger(value, min, max, &(o.*field));
  };
}

Set Text(std::string Options::*field) {
  return [=](Options& o, std::string_view value) {
    o.*field = value;
    return absl::OkStatus();
  };
}

Set OneOf(std::string Options::*field, std::vector<std::string_view> values) {
  return [=](Options& o, std::string_view value) {
    if (std::find(values.begin(), values.end(), value) == values.end()) {
      std::string all;
      for (std::string_view v : values) all += (all.empty() ? "" : ", ") + std::string(v);
      return absl::InvalidArgumentError(fmt::format("is one of {}, not '{}'", all, value));
    }
    o.*field = value;
    return absl::OkStatus();
  };
}

Set Address(std::string Options::*field) {
  return [=](Options& o, std::string_view value) {
    const size_t colon = value.rfind(':');
    int64_t port = 0;
    if (colon == std::string_view::npos || colon == 0 ||
        !ParseInteger(value.substr(colon + 1), 0, 65535, &port).ok()) {
      return absl::InvalidArgumentError(
          fmt::format("needs ADDR:PORT with a port from 0 to 65535, not '{}'", value));
    }
    o.*field = value;
    return absl::OkStatus();
  };
}

Set Refused(std::string_view why) {
  return [=](Options&, std::string_view) { return absl::InvalidArgumentError(std::string(why)); };
}

Show Number(int64_t Options::*field) {
  return [=](const Options& o) { return std::to_string(o.*field); };
}
Show Word(std::string Options::*field) {
  return [=](const Options& o) { return o.*field; };
}
Show Fixed(std::string_view text) {
  return [=](const Options&) { return std::string(text); };
}

Set Limit(size_t DoorLimits::*field, int64_t max) {
  return [=](Options& o, std::string_view value) {
    int64_t bytes = 0;
    absl::Status status = ParseBytes(value, max, &bytes);
    if (status.ok()) o.limits.*field = static_cast<size_t>(bytes);
    return status;
  };
}
Set Timeout(std::chrono::milliseconds DoorLimits::*field) {
  return [=](Options& o, std::string_view value) {
    int64_t seconds = 0;
    absl::Status status = ParseInteger(value, 1, 86400, &seconds);
    if (status.ok()) o.limits.*field = std::chrono::seconds(seconds);
    return status;
  };
}
Show ShowTimeout(std::chrono::milliseconds DoorLimits::*field) {
  return [=](const Options& o) {
    return std::to_string(
        std::chrono::duration_cast<std::chrono::seconds>(o.limits.*field).count());
  };
}

// The host or the port alone of --http, in vLLM's spelling.
Set HttpPart(bool port) {
  return [=](Options& o, std::string_view value) {
    const size_t colon = o.http.rfind(':');
    const std::string joined = port ? fmt::format("{}:{}", o.http.substr(0, colon), value)
                                    : fmt::format("{}{}", value, o.http.substr(colon));
    return Address(&Options::http)(o, joined);
  };
}

Set CpuPathName() {
  return [](Options& o, std::string_view value) {
    const std::optional<CpuPath> path = ParseCpuPath(value);
    if (!path) {
      return absl::InvalidArgumentError(
          fmt::format("is scalar, avx2, avx512, avx512-bf16, amx, neon or sve, not '{}'", value));
    }
    if (!Supported(*path)) {
      return absl::InvalidArgumentError(fmt::format("'{}' is not available on this CPU", value));
    }
    o.cpu_path = value;
    return absl::OkStatus();
  };
}

Set DefaultWidth() {
  return [](Options& o, std::string_view value) {
    const absl::StatusOr<v1::Width> width = ParseWidth(value);
    if (!width.ok()) return width.status();
    o.width_q = width->q();
    o.width_kv = width->kv();
    return absl::OkStatus();
  };
}

std::vector<OptionSpec> MakeTable() {
  constexpr int64_t kMax32 = std::numeric_limits<int32_t>::max();
  constexpr int64_t kMaxBytes = int64_t{1} << 50;
  const unsigned serve = kScopeServe, model = kScopeServe | kScopeText;
  const unsigned bench = model | kScopeBench, all = bench | kScopeInspect;
  const std::string_view keys = "is not served yet: keys, quotas and TLS come with a later version";
  return {
      {"model", "", "DIR", "Model", "model folder; the bundled demo model without", all,
       Text(&Options::model), Fixed("")},
      {"served-model-name", "", "ID", "Model", "the model's id at the doors", serve,
       Text(&Options::served_model_name), Fixed("the folder's last name")},
      {"max-model-len", "", "TOKENS", "Model", "longest context served; 0 is the model's own",
       model, Integer(&Options::max_model_len, 0, kMax32), Number(&Options::max_model_len)},
      {"weights", "", "as-stored|int8|int4", "Model",
       "copied to 8 or 4 bits at load, for less memory traffic and some accuracy", bench,
       OneOf(&Options::weights, {"as-stored", "int8", "int4"}), Word(&Options::weights)},

      {"http", "", "ADDR:PORT", "Doors", "HTTP address; port 0 is any free one", serve,
       Address(&Options::http), Word(&Options::http)},
      {"host", "", "ADDR", "Doors", "host of --http alone", serve, HttpPart(false), Fixed("")},
      {"port", "", "PORT", "Doors", "port of --http alone", serve, HttpPart(true), Fixed("")},
      {"grpc", "", "ADDR:PORT", "Doors", "gRPC address", serve, Address(&Options::grpc),
       Word(&Options::grpc)},
      {"admin", "", "ADDR:PORT", "Doors", "address of the Admin service; absent: none", serve,
       Address(&Options::admin), Fixed("")},
      {"drain-timeout", "", "SECONDS", "Doors", "how long streams may finish after SIGTERM", serve,
       Integer(&Options::drain_timeout_seconds, 0, 86400), Number(&Options::drain_timeout_seconds)},

      {"max-body", "", "BYTES", "Limits", "largest request body or gRPC message", serve,
       Limit(&DoorLimits::max_body_bytes, int64_t{1} << 30), Fixed("8M")},
      {"max-header", "", "BYTES", "Limits", "largest HTTP header", serve,
       Limit(&DoorLimits::max_header_bytes, 1 << 24), Fixed("64K")},
      {"header-timeout", "", "SECONDS", "Limits", "time to send a whole HTTP header", serve,
       Timeout(&DoorLimits::header_timeout), ShowTimeout(&DoorLimits::header_timeout)},
      {"body-timeout", "", "SECONDS", "Limits", "time to send a whole HTTP body", serve,
       Timeout(&DoorLimits::body_timeout), ShowTimeout(&DoorLimits::body_timeout)},
      {"idle-timeout", "", "SECONDS", "Limits", "an idle HTTP connection is closed after", serve,
       Timeout(&DoorLimits::idle_timeout), ShowTimeout(&DoorLimits::idle_timeout)},
      {"max-connections", "", "N", "Limits", "HTTP connections; more are answered 503", serve,
       [](Options& o, std::string_view value) {
         int64_t n = 0;
         absl::Status status = ParseInteger(value, 1, 1 << 20, &n);
         if (status.ok()) o.limits.max_connections = static_cast<int>(n);
         return status;
       },
       [](const Options& o) { return std::to_string(o.limits.max_connections); }},
      {"max-queue", "", "N", "Limits", "waiting requests; more are answered 503", serve,
       Integer(&Options::max_queue, 1, 1 << 20), Number(&Options::max_queue)},
      {"max-queue-tokens", "", "N", "Limits",
       "prompt tokens of waiting requests; with so many, more are answered 503", serve,
       Integer(&Options::max_queue_tokens, 1, int64_t{1} << 40),
       Fixed("four times what the cache holds")},
      {"stall-timeout", "", "SECONDS", "Limits", "a reader that takes nothing is cancelled after",
       serve, Integer(&Options::stall_timeout_seconds, 1, 86400),
       Number(&Options::stall_timeout_seconds)},
      {"unknown-fields", "", "refuse|ignore", "Limits", "JSON fields that we do not know", serve,
       [](Options& o, std::string_view value) {
         if (value != "refuse" && value != "ignore") {
           return absl::InvalidArgumentError(fmt::format("is refuse or ignore, not '{}'", value));
         }
         o.limits.ignore_unknown_fields = value == "ignore";
         return absl::OkStatus();
       },
       Fixed("refuse")},

      {"max-num-seqs", "", "N", "Scheduling", "sequences in one step", model,
       Integer(&Options::max_num_seqs, 1, 65536), Number(&Options::max_num_seqs)},
      {"max-num-batched-tokens", "", "N", "Scheduling",
       "tokens in one step; at least max-num-seqs + 64", bench,
       Integer(&Options::max_num_batched_tokens, 65, 1 << 20),
       Number(&Options::max_num_batched_tokens)},
      {"step-ms", "", "MS", "Scheduling",
       "time of a step's tokens at most, as estimated from steps so far", model,
       Integer(&Options::step_ms, 1, 600000), Number(&Options::step_ms)},
      {"priority-aging", "", "SECONDS", "Scheduling", "a waiting request gains one level each",
       serve, Integer(&Options::priority_aging_seconds, 1, 86400),
       Number(&Options::priority_aging_seconds)},

      {"cache-tokens", "", "N", "Cache", "tokens that the latent cache holds", model,
       Integer(&Options::cache_tokens, 1, int64_t{1} << 40),
       Fixed("a quarter of free memory, or nine tenths of a device's")},
      {"cache-memory", "", "BYTES", "Cache", "size of the latent cache", model,
       [](Options& o, std::string_view value) {
         return ParseBytes(value, kMaxBytes, &o.cache_memory_bytes);
       },
       Fixed("a quarter of free memory, or nine tenths of a device's")},
      {"cache-format", "", "bf16|int8", "Cache",
       "int8: latents of 8 bits, for little more than half the memory and some accuracy", bench,
       OneOf(&Options::cache_format, {"bf16", "int8"}), Word(&Options::cache_format)},

      {"threads", "", "N", "Device", "compute threads; 0 is one per processor", bench,
       Integer(&Options::threads, 0, 1024), Number(&Options::threads)},
      {"cpu-path", "", "PATH", "Device",
       "scalar, avx2, avx512, avx512-bf16, neon, sve, or amx, which is compiled and was never run",
       bench, CpuPathName(), Fixed("the fastest")},
      {"device", "", "cpu|cuda", "Device",
       "cuda: a GPU of compute capability 9.0, in builds that have it; not run on one yet", bench,
       OneOf(&Options::device, {"cpu", "cuda"}), Word(&Options::device)},
      {"determinism", "", "strict|relaxed", "Device",
       "strict: the same bits whatever else runs; relaxed: within rounding, long prompts quicker "
       "(on a GPU: products by cuBLASLt)",
       bench, OneOf(&Options::determinism, {"strict", "relaxed"}), Word(&Options::determinism)},
      {"elastic-policy", "", "fixed|pressure", "Device",
       "pressure: a request that names no width runs narrower as the cache fills (80, 90, 95 %)",
       serve, OneOf(&Options::elastic_policy, {"fixed", "pressure"}),
       Word(&Options::elastic_policy)},
      {"width", "", "Q,KV", "Device", "ranks of requests that name none (elastic models)", serve,
       DefaultWidth(), Fixed("full")},

      {"log-level", "", "LEVEL", "Logs", "debug, info, warn or error", serve,
       OneOf(&Options::log_level, {"debug", "info", "warn", "error"}), Word(&Options::log_level)},
      {"log-format", "", "text|json", "Logs", "json: one object a line", serve,
       OneOf(&Options::log_format, {"text", "json"}), Word(&Options::log_format)},

      {"gpu-memory-utilization", "", "SHARE", "Not served yet", "later version", serve,
       Refused("is not served yet: --cache-memory and --cache-tokens size the cache"), Fixed("")},
      {"api-key", "", "KEY", "Not served yet", "later version", serve, Refused(keys), Fixed("")},
      {"ssl-certfile", "", "FILE", "Not served yet", "later version", serve, Refused(keys),
       Fixed("")},
      {"ssl-keyfile", "", "FILE", "Not served yet", "later version", serve, Refused(keys),
       Fixed("")},
      {"requests-per-minute", "", "N", "Not served yet", "later version", serve, Refused(keys),
       Fixed("")},
  };
}

}  // namespace

int NumThreads(const Options& options) {
  if (options.threads != 0) return static_cast<int>(options.threads);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

CpuPath PathOf(const Options& options) {
  return options.cpu_path.empty() ? BestCpuPath() : *ParseCpuPath(options.cpu_path);
}

WeightCopies CopiesOf(const Options& options) {
  if (options.weights == "int8") return WeightCopies::kInt8;
  return options.weights == "int4" ? WeightCopies::kInt4 : WeightCopies::kNone;
}

CacheFormat CacheFormatOf(const Options& options) {
  return options.cache_format == "int8" ? CacheFormat::kInt8 : CacheFormat::kBf16;
}
Determinism DeterminismOf(const Options& options) {
  return options.determinism == "relaxed" ? Determinism::kRelaxed : Determinism::kStrict;
}

const std::vector<OptionSpec>& OptionTable() {
  static const std::vector<OptionSpec> table = MakeTable();
  return table;
}

std::string ConfigKey(std::string_view name) {
  std::string key(name);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

std::string EnvironmentName(std::string_view name) {
  std::string upper = ConfigKey(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return "LATENTD_" + upper;
}

}  // namespace latentd
