#include "tests/determinism/workload.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "cache/block_pool.h"
#include "engine/engine_loop.h"
#include "engine/model/model_executor.h"
#include "engine/sampling/logits_hash.h"
#include "kernels/core/check.h"
#include "kernels/core/thread_pool.h"
#include "tests/determinism/chunking_executor.h"
#include "tests/fakes/manual_clock.h"

namespace latentd {
namespace {

constexpr uint32_t kVocab = 61;
constexpr int64_t kMaxRows = 4096;  // a step's budget at most

std::vector<uint32_t> Tokens(uint64_t seed, size_t count) {
  std::mt19937_64 random(seed);
  std::vector<uint32_t> ids(count);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(random() % kVocab);
  return ids;
}

int64_t BlocksFor(const EngineRequest& request) {
  const auto tokens = static_cast<int64_t>(request.prompt.size() + request.max_tokens);
  return (tokens + kBlockTokens - 1) / kBlockTokens;
}

// Of the longest step: every token that there is, or the whole budget.
int64_t MostRows(const std::vector<EngineRequest>& requests) {
  int64_t tokens = 0;
  for (const EngineRequest& request : requests) {
    tokens += static_cast<int64_t>(request.prompt.size() + request.max_tokens);
  }
  return std::min(kMaxRows, tokens);
}

int64_t PoolBlocks(const std::vector<EngineRequest>& requests, int64_t pressure) {
  int64_t all = 0, largest = 0;
  for (const EngineRequest& request : requests) {
    all += BlocksFor(request);
    largest = std::max(largest, BlocksFor(request));
  }
  switch (pressure) {
    case kQueueing:
      return std::max(largest, all / 3);
    case kPreempting:  // what admission gives: the prompt's blocks and one
      return largest + 2 * (static_cast<int64_t>(requests.size()) - 1);
    default:
      return all + 1;
  }
}

}  // namespace

RandomModel MatrixModel() {
  ModelConfig config;
  config.hidden_size = 64;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_groups = 2;
  config.q_lora_rank = 24;
  config.kv_lora_rank = 40;
  config.qk_nope_head_dim = 12;
  config.qk_rope_head_dim = 8;
  config.v_head_dim = 10;
  config.intermediate_size = 96;
  config.vocab_size = kVocab;
  config.max_context = 4096;
  config.key_norm = KeyNorm::kBlockwise;
  config.softmax_scale = 1 / std::sqrt(20.0f);
  config.rope.inv_freq = {1, 0.1, 0.01, 0.001};
  MoeConfig moe;
  moe.router.num_experts = 8;
  moe.router.top_k = 4;  // of two, the order of the sum would not show
  moe.expert_intermediate_size = 32;
  moe.shared_intermediate_size = 32;
  moe.num_dense_layers = 1;
  config.moe = moe;
  RandomModel model = MakeRandomModel(config, 4, DType::kBF16);
  RandomModel exact = MakeRandomModel(config, 4);
  model.weights.lm_head = exact.weights.lm_head;
  std::move(exact.storage.begin(), exact.storage.end(), std::back_inserter(model.storage));
  return model;
}

EngineRequest MatrixRequest(int64_t i, const Setting& setting) {
  EngineRequest request;
  const auto seed = static_cast<uint64_t>(i);
  if (i % 8 == 0 || i % 4 == 2) {
    request.prompt = Tokens(0, static_cast<size_t>(setting.at(AxisId::kContext)));
    if (i > 0) {
      request.prompt.resize(128);
      const std::vector<uint32_t> own = Tokens(seed, 3 + seed % 5);
      request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    }
  } else {
    request.prompt = Tokens(seed, 1 + seed * 7 % 41);
  }
  const bool grows = setting.at(AxisId::kPressure) == kPreempting;
  request.max_tokens = static_cast<uint32_t>(grows ? 100 + i % 5 : 5 + i % 3);
  request.sampling.temperature = i % 2 == 0 ? 1.0f : 0.0f;
  request.sampling.top_p = 0.9f;
  request.sampling.seed = seed;
  request.top_logprobs = 2;
  request.logits_hash = true;
  if (setting.at(AxisId::kWidths) == 1) {
    constexpr Width kWidths[] = {{24, 40}, {17, 37}, {24, 8}, {9, 40}, {5, 1}};
    request.width_q = kWidths[i % 5].q;
    request.width_kv = kWidths[i % 5].kv;
  }
  // Prompt rows that are wanted are computed: those that would reuse blocks leave them out.
  if (i % 4 != 2) request.prompt_top_logprobs = 2;
  return request;
}

std::vector<Record> Matrix::Run(const Setting& setting, const std::vector<EngineRequest>& requests,
                                const WrapExecutor& wrap) {
  const ModelConfig& config = model_.config;
  const BlockLayout layout = BlockLayout::Make(config.num_layers, config.kv_lora_rank,
                                               config.qk_rope_head_dim, config.num_alphas());
  const auto pool = BlockPool::Create(layout, PoolBlocks(requests, setting.at(AxisId::kPressure)),
                                      {.poison = true, .may_allocate = {}});
  LATENTD_CHECK(pool.ok());
  ThreadPool threads(static_cast<int>(setting.at(AxisId::kThreads)));
  const Context context{static_cast<CpuPath>(setting.at(AxisId::kPath)), &threads};
  ModelExecutor model(config, model_.weights, context, layout, (*pool)->base(), MostRows(requests));
  const std::unique_ptr<Executor> wrapped = wrap ? wrap(&model) : nullptr;
  ChunkingExecutor chunking(wrapped ? wrapped.get() : &model, setting.at(AxisId::kChunk));

  EngineOptions options;
  const auto batch = static_cast<int64_t>(requests.size());
  options.scheduler.max_num_seqs = batch;
  options.scheduler.max_num_batched_tokens = std::max(batch + 1, setting.at(AxisId::kBudget));
  options.scheduler.prefix_reuse = setting.at(AxisId::kReuse) != 0;
  options.max_waiting_tokens = int64_t{1} << 30;
  options.queue_events = 4096;
  ManualClock clock;
  EngineLoop loop(options, &chunking, pool->get(), &clock);
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (const EngineRequest& request : requests) {
    auto stream = loop.Submit(request);
    LATENTD_CHECK(stream.ok());
    streams.push_back(*std::move(stream));
  }
  while (loop.RunOnce(clock.Now())) {
  }
  const EngineStats stats = loop.Stats();
  facts_ = {chunking.most_entries(), chunking.longest_chunk(), stats.preemptions,
            stats.prefix_hits};
  std::vector<Record> records;
  for (const auto& stream : streams) records.push_back(ReadRecord(*stream));
  return records;
}

const Record& Matrix::Solo(int64_t i, const Setting& setting) {
  const std::array<int64_t, 4> key = {i, setting.at(AxisId::kPath), setting.at(AxisId::kWidths),
                                      setting.at(AxisId::kContext)};
  const auto found = solo_.find(key);
  if (found != solo_.end()) return found->second;
  Setting alone = UsualSetting();
  for (AxisId axis : {AxisId::kPath, AxisId::kWidths, AxisId::kContext}) {
    alone.values[static_cast<size_t>(axis)] = setting.at(axis);
  }
  alone.values[static_cast<size_t>(AxisId::kChunk)] = kWholePrompt;
  // Growing requests generate the most; the others are the beginning of the same.
  alone.values[static_cast<size_t>(AxisId::kPressure)] = kPreempting;
  return solo_[key] = Run(alone, {MatrixRequest(i, alone)}, {})[0];
}

std::optional<std::string> Matrix::Check(const Setting& setting, const WrapExecutor& wrap) {
  std::vector<EngineRequest> requests;
  for (int64_t i = 0; i < setting.at(AxisId::kBatch); ++i) {
    requests.push_back(MatrixRequest(i, setting));
    Solo(i, setting);
  }
  const std::vector<Record> records = Run(setting, requests, wrap);
  for (size_t i = 0; i < records.size(); ++i) {
    const Record& solo = Solo(static_cast<int64_t>(i), setting);
    if (const auto difference = FirstDifference(solo, records[i], requests[i])) {
      return absl::StrCat("request ", i, ", ", *difference);
    }
  }
  return std::nullopt;
}

std::string Matrix::Fingerprint() const {
  RunningSipHash hash(0, 0);
  for (const auto& [key, record] : solo_) {
    for (const LogitsDigest& digest : record.hashes) hash.Update(std::as_bytes(std::span(digest)));
  }
  const LogitsDigest digest = hash.Digest();
  return absl::BytesToHexString({digest.data(), digest.size()});
}

}  // namespace latentd
