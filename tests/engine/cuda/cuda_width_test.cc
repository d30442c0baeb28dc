// Elastic width on the CUDA back end, its kernels emulated.
#include <catch2/catch.hpp>

#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/model/compare_logits.h"
#include "tests/engine/model/naive_model.h"
#include "tests/engine/model/sliced_model.h"

namespace latentd {

TEST_CASE("a width on the device is the model made of its leading slices, bit for bit") {
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (int64_t rope_dim : {int64_t{0}, kRope}) {
      RandomModel model = MakeRandomModel(ElasticGeometry(norm, rope_dim), 21);
      if (norm == KeyNorm::kNone) AddBiases(&model);
      const std::vector<uint32_t> ids = Tokens(9, 22);
      // In the last the MLP follows the query.
      for (Width width : {Width{1, 1}, Width{24, 64}, Width{23, 65}, Width{23, 5}}) {
        CAPTURE(static_cast<int>(norm), rope_dim, width.q, width.kv);
        const RandomModel sliced = Sliced(model, width);
        const auto logits = RunWholeOnDevice(model, ids, width);
        RequireSameBits(logits, RunWholeOnDevice(sliced, ids));
        if (norm == KeyNorm::kNone) continue;  // the plain model has no biases
        const NaiveResult truth =
            NaiveForward(sliced.config, sliced.weights, ids, CacheFormat::kBf16);
        const Difference difference = Compare(truth, logits, sliced.config.num_layers);
        INFO(difference.where);
        CHECK(difference.worst <= 1);
      }
    }
  }
}

TEST_CASE("sequences of several widths share a step on the device, each with its own bits") {
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kUnified}) {
    const RandomModel model = MakeRandomModel(ElasticGeometry(norm), 27);
    // Equal in both ranks, in one, in none.
    const std::vector<Width> widths = {{24, 100}, {7, 37}, {24, 100}, {3, 65}, {7, 37}, {24, 64}};
    DeviceRunner runner(model.config, model.weights);
    std::vector<StepRunner::Sequence> sequences;
    for (const Width& width : widths) {
      sequences.push_back(runner.NewSequence(Tokens(10, 30), width));
    }
    // One joins at each step, so that neighbours are at different positions.
    for (size_t joined = 1; sequences.back().computed < 10; ++joined) {
      std::vector<std::pair<StepRunner::Sequence*, int64_t>> portions;
      for (size_t i = 0; i < std::min(joined, sequences.size()); ++i) {
        StepRunner::Sequence& s = sequences[i];
        if (s.computed < 10) portions.push_back({&s, std::min<int64_t>(3, 10 - s.computed)});
      }
      runner.Step(portions);
    }
    for (size_t i = 0; i < widths.size(); ++i) {
      CAPTURE(static_cast<int>(norm), i);
      RequireSameBits(sequences[i].logits, RunWholeOnDevice(model, Tokens(10, 30), widths[i]));
    }
  }
}

}  // namespace latentd
