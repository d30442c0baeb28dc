// Every setting of the program, declared once: name, group, unit, default and effect together. The
// table produces --help, the keys of a config file (configs/*.json) and the LATENTD_* variables.
// Precedence: flag > environment > config file > default. Read only by main.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/transformer.h"
#include "engine/model/weights.h"
#include "kernels/core/cache_format.h"
#include "kernels/core/context.h"
#include "server/limits.h"

namespace latentd {

// Immutable after parsing. Durations and sizes carry their unit.
struct Options {
  std::string model;              // folder; "": the bundled demo model
  std::string served_model_name;  // "": the folder's last name

  std::string http = "127.0.0.1:8080";
  std::string grpc = "127.0.0.1:50051";
  std::string admin;  // "": no Admin service
  DoorLimits limits;

  int64_t max_num_seqs = 64;
  int64_t max_num_batched_tokens = 512;
  int64_t max_model_len = 0;     // tokens; 0: the model's own
  int64_t max_queue = 256;       // requests
  int64_t max_queue_tokens = 0;  // of their prompts; 0: four times the cache's
  int64_t step_ms = 250;
  int64_t priority_aging_seconds = 10;
  int64_t stall_timeout_seconds = 60;
  int64_t drain_timeout_seconds = 30;

  int64_t cache_tokens = 0;  // 0: from cache_memory, or a share of free memory
  int64_t cache_memory_bytes = 0;
  std::string cache_format = "bf16";  // or "int8"

  std::string weights = "as-stored";  // or "int8", "int4"

  std::string device = "cpu";  // or "cuda"
  int64_t threads = 0;         // 0: one per processor
  std::string cpu_path;        // "": the fastest that this CPU has
  // Ranks of requests that name no width; 0: full.
  uint32_t width_q = 0, width_kv = 0;
  std::string determinism = "strict";    // or "relaxed"
  std::string elastic_policy = "fixed";  // or "pressure"
  std::string log_level = "info";
  std::string log_format = "text";
};

// Compute threads, kernel path, copies of weights and format of the cache that the options stand
// for.
int NumThreads(const Options& options);
CpuPath PathOf(const Options& options);
WeightCopies CopiesOf(const Options& options);
CacheFormat CacheFormatOf(const Options& options);
Determinism DeterminismOf(const Options& options);

// Which commands offer an option: those on which it acts.
enum OptionScope : unsigned {
  kScopeServe = 1,
  kScopeText = 2,  // generate and score: an engine without doors
  kScopeBench = 4,
  kScopeInspect = 8
};

struct OptionSpec {
  std::string_view name;     // flag "--name", variable LATENTD_NAME, config key "name" (with '_')
  std::string_view aliases;  // further flags, ",--port" style; "" for none
  std::string_view metavar;  // "N", "SECONDS", "ADDR:PORT", …
  std::string_view group;    // heading in --help
  std::string_view help;     // effect, one line
  unsigned scope;
  std::function<absl::Status(Options&, std::string_view value)> set;  // checks the value
  std::function<std::string(const Options&)> show;                    // the default, for --help
};

const std::vector<OptionSpec>& OptionTable();

// "max-num-seqs" → "max_num_seqs", "LATENTD_MAX_NUM_SEQS".
std::string ConfigKey(std::string_view name);
std::string EnvironmentName(std::string_view name);

// Values that flags gave, by option name, in order; applied last.
using FlagValues = std::vector<std::pair<const OptionSpec*, std::string>>;

// Applies config file (may be ""), environment and flags to the defaults, each beating the one
// before it, then checks what concerns several options. Only options of `scope` are read from the
// first two, so that one file and one environment serve every command. getenv is injected.
// INVALID_ARGUMENT names the option and where it came from; any other code: the config file cannot
// be read (NOT_FOUND) or is no JSON object with each key once (DATA_LOSS).
absl::Status ResolveOptions(OptionScope scope, const std::string& config_path,
                            const std::function<const char*(const char*)>& getenv,
                            const FlagValues& flags, Options* options);

}  // namespace latentd
