// What the host does for a step on a device before it can begin, and what it does for the next one
// while the device is at work: StepBatch, StepSender and SamplerBatch, over a device that does
// nothing, so that no copy counts. Rounds go over all sizes in turn; figures are the median round's
// microseconds a step, of this thread's processor time.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/cuda/step_inputs.h"
#include "engine/sampling/sampler_batch.h"
#include "kernels/cuda/device_memory.h"

namespace latentd::cuda {

DeviceBuffer::DeviceBuffer(size_t bytes)
    : data_(static_cast<std::byte*>(std::malloc(bytes))), bytes_(bytes) {}
DeviceBuffer::~DeviceBuffer() { std::free(data_); }
PinnedBuffer::PinnedBuffer(size_t bytes)
    : data_(static_cast<std::byte*>(std::malloc(bytes))), bytes_(bytes) {}
PinnedBuffer::~PinnedBuffer() { std::free(data_); }
void CopyToDevice(CUstream_st*, std::byte*, const std::byte*, size_t) {}

}  // namespace latentd::cuda

namespace latentd {
namespace {

constexpr int kProcessors = 132;

double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Of bench/gpu/youtu-2b.json, as far as inputs depend on it.
ModelConfig Config() {
  ModelConfig config;
  config.num_heads = 16;
  config.kv_lora_rank = 512;
  config.q_lora_rank = 1536;
  config.qk_rope_head_dim = 64;
  for (int i = 0; i < 32; ++i) config.rope.inv_freq.push_back(std::pow(1.6e6, -i / 32.0));
  return config;
}

constexpr int64_t kRounds = 7, kSteps = 4;  // of a round

struct Size {
  int64_t sequences, depth, tokens;  // of each

  std::string Name() const {
    return tokens == 1 ? std::to_string(sequences) + " at " + std::to_string(depth)
                       : std::to_string(tokens) + " tokens after " + std::to_string(depth);
  }
};

enum Part { kBuild, kSend, kPrepare, kParts };

// Sequences that go on from one step to the next, around a depth, where none was before; or a
// prefill, always the same.
class Steps {
 public:
  explicit Steps(const Size& size)
      : size_(size),
        config_(Config()),
        context_(size.depth + size.sequences * kSteps * kRounds + size.tokens),
        ids_(static_cast<size_t>(size.tokens)),
        sender_(config_,
                {.max_rows = size.sequences * size.tokens,
                 .max_sequences = size.sequences,
                 .max_context = context_,
                 .partial_bytes = int64_t{8} << 30},
                kProcessors) {
    uint32_t granule = 0;
    for (int64_t i = 0; i < size.sequences; ++i) {
      auto& table = tables_.emplace_back(static_cast<size_t>(context_ / kBlockTokens + 1));
      for (uint32_t& entry : table) entry = granule += 9216;
      wanted_.push_back(static_cast<int32_t>((i + 1) * size.tokens - 1));
    }
  }
  // Adds the seconds of each part.
  void Step(std::vector<double>* seconds) {
    StepPlan plan;
    for (int64_t i = 0; i < size_.sequences; ++i) {
      const int64_t before_middle = size_.sequences / 2 - i;
      plan.entries.push_back(
          {.first_position = size_.depth + done_ - before_middle * kSteps * kRounds,
           .token_ids = ids_,
           .block_table = tables_[static_cast<size_t>(i)]});
    }
    if (size_.tokens == 1) ++done_;
    const std::function<void()> parts[kParts] = {[&] { batch_.Build(plan, config_.full_width()); },
                                                 [&] { sender_.Send(nullptr, &batch_, wanted_); },
                                                 [&] { sender_.PrepareNext(batch_); }};
    for (size_t part = 0; part < kParts; ++part) {
      const double begin = ProcessorSeconds();
      parts[part]();
      (*seconds)[part] += ProcessorSeconds() - begin;
    }
  }

 private:
  const Size size_;
  const ModelConfig config_;
  const int64_t context_;
  const std::vector<uint32_t> ids_;
  StepSender sender_;
  std::vector<std::vector<uint32_t>> tables_;
  StepBatch batch_;
  std::vector<int32_t> wanted_;
  int64_t done_ = 0;
};

double Median(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Seconds to list the draws of a step whose sequences have seen so many different tokens each.
double ListSeconds(int64_t sequences, uint32_t num_seen) {
  constexpr int64_t kVocab = 128256;
  SamplingParams params;
  params.presence_penalty = num_seen > 0 ? 0.5F : 0.0F;
  std::vector<uint32_t> prompt(num_seen);
  for (uint32_t i = 0; i < num_seen; ++i) prompt[i] = i * 7919 % kVocab;
  std::vector<ChoiceState> choices;
  for (int64_t i = 0; i < sequences; ++i) {
    choices.emplace_back(params, 0, prompt, 0, std::vector<uint32_t>(), kVocab);
  }
  SamplerBatch batch;
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    const double begin = ProcessorSeconds();
    batch.Clear();
    for (const ChoiceState& choice : choices) batch.Add(choice, {}, {});
    rounds.push_back(ProcessorSeconds() - begin);
  }
  return Median(rounds);
}

void Run() {
  struct Row {
    Size size;
    std::unique_ptr<Steps> steps;
    std::vector<double> parts[kParts];
  };
  std::vector<Row> rows;
  for (const int64_t depth : {4096, 131072}) {
    for (const int64_t sequences : {1, 16, 64, 256}) {
      rows.push_back({{sequences, depth, 1}, {}, {}});
    }
  }
  rows.push_back({{1, 0, 2048}, {}, {}});
  for (Row& row : rows) row.steps = std::make_unique<Steps>(row.size);
  for (int round = 0; round < kRounds; ++round) {
    for (Row& row : rows) {
      std::vector<double> seconds(kParts);
      for (int64_t i = 0; i < kSteps; ++i) row.steps->Step(&seconds);
      for (size_t p = 0; p < kParts; ++p) row.parts[p].push_back(seconds[p] / kSteps);
    }
  }
  std::printf("| step | batch | send | prepare |\n|---|---|---|---|\n");
  for (Row& row : rows) {
    std::printf("| %s |", row.size.Name().c_str());
    for (std::vector<double>& part : row.parts) std::printf(" %.1f |", 1e6 * Median(part));
    std::printf("\n");
  }
  std::printf("\n| draws | lists |\n|---|---|\n");
  for (const uint32_t num_seen : {0, 16, 128, 4096}) {
    std::printf("| 64, %u tokens penalised in each | %.1f |\n", num_seen,
                1e6 * ListSeconds(64, num_seen));
  }
}

}  // namespace
}  // namespace latentd

int main() { latentd::Run(); }
