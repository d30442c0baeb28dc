// The subcommands, after main has wired what they need. Each returns the process's exit status; on
// failure it returns a status whose message is the one sentence for stderr.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/loader.h"
#include "server/device.h"
#include "server/options.h"
#include "server/service.h"

namespace latentd {

struct GenerateCommand {
  std::string prompt;
  uint32_t max_tokens = 16;
  std::optional<float> temperature;
  std::optional<uint64_t> seed;
  std::optional<v1::Width> width;  // absent: full
};
// Streams the completion to stdout: just what the server would give.
absl::Status RunGenerate(Service& service, const GenerateCommand& command);

struct ScoreCommand {
  std::string file;
  int64_t stride = 0;  // tokens; 0: windows do not overlap
  std::optional<v1::Width> width;
  bool hash = false;            // print a digest of the logits
  bool grid = false;            // sweep over widths; then `width` is absent
  std::vector<uint32_t> q, kv;  // ranks of the sweep; empty: those that the checkpoint lists
  std::string csv, svg;         // files of the sweep; "": none
};
// Total log-likelihood and perplexity of a text, in windows of the served context, at one width or
// for a grid of them.
absl::Status RunScore(Service& service, int64_t max_context, std::optional<uint32_t> bos,
                      const ScoreCommand& command);

struct InspectCommand {
  bool json = false;
  int64_t memory_bytes = 0;  // for which to say what fits; 0: not asked
};
absl::Status RunInspect(const std::string& dir, const InspectCommand& command);

// Forward passes alone, timed: no engine, sampler or doors.
struct BenchCommand {
  std::string random_weights;             // a config.json; "": --model
  std::vector<int64_t> depths = {0};      // cached tokens before the work
  std::vector<int64_t> prefills = {512};  // new tokens of a prompt
  std::vector<int64_t> batches = {1};     // sequences of a decode step
  std::vector<int64_t> thread_counts;     // empty: --threads; on a device it is empty
  std::vector<v1::Width> widths;          // empty: full
  uint64_t repeat = 5;                    // rounds
  bool synthetic_cache = false;           // random latents instead of computed ones
  bool json = false;
  std::string version;
};
// device: null is the CPU; else loaded with the model.
absl::Status RunBench(const Model& model, const std::string& model_name, const Options& options,
                      const BenchCommand& command, const Device* device);

}  // namespace latentd
