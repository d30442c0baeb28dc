// Models loaded with copies of their weights: which matrices become int8 or int4, what they are
// worth, what is said, and what does not fit.
#include <catch2/catch.hpp>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "engine/model/loader.h"
#include "kernels/dequantise.h"
#include "kernels/quantise.h"
#include "tests/engine/model/quantised_folder.h"

namespace latentd {
namespace {

constexpr WeightCopies kBoth[] = {WeightCopies::kInt8, WeightCopies::kInt4};

absl::StatusOr<std::unique_ptr<const Model>> TryLoad(const TestModel& model,
                                                     const LoadOptions& options) {
  const TempFolder folder;
  model.Write(folder);
  return LoadModel(folder.path(), options);
}

std::unique_ptr<const Model> Load(const TestModel& model, WeightCopies copies = WeightCopies::kNone,
                                  bool describe_only = false) {
  LoadOptions options;
  options.copies = copies;
  options.describe_only = describe_only;
  options.num_threads = 2;
  auto loaded = TryLoad(model, options);
  INFO(loaded.status().message());
  REQUIRE(loaded.ok());
  return *std::move(loaded);
}

// What has become copies: number of matrices and bytes, each copy on a cache line.
struct Copies {
  const BlockFormat* format;
  int64_t count = 0, bytes = 0;

  explicit Copies(WeightCopies copies)
      : format(copies == WeightCopies::kInt8 ? &kInt8Format : &kInt4Format) {}

  void ExpectIn(const BlockFormat& wanted, const WeightView& copy, const WeightView& stored) {
    REQUIRE(static_cast<bool>(copy) == static_cast<bool>(stored));
    if (!stored) return;
    REQUIRE(copy.dtype == wanted.dtype);
    REQUIRE((copy.rows == stored.rows && copy.cols == stored.cols));
    std::vector<std::byte> here(static_cast<size_t>(wanted.Bytes(stored.rows, stored.cols)));
    Quantise(nullptr, wanted, stored, here.data());
    REQUIRE(std::memcmp(copy.data, here.data(), here.size()) == 0);
    ++count;
    bytes += (std::ssize(here) + 63) / 64 * 64;
  }
  void Expect(const WeightView& copy, const WeightView& stored) { ExpectIn(*format, copy, stored); }
  void Expect(const MlpWeights& copy, const MlpWeights& stored) {
    Expect(copy.gate, stored.gate);
    Expect(copy.up, stored.up);
    Expect(copy.down, stored.down);
  }
  void ExpectAll(const Weights& is, const Weights& was) {
    ExpectIn(kInt8Format, is.lm_head, was.lm_head);  // of int4 too
    for (size_t i = 0; i < was.layers.size(); ++i) {
      const LayerWeights &a = is.layers[i], &b = was.layers[i];
      Expect(a.q_proj, b.q_proj);
      Expect(a.q_a_proj, b.q_a_proj);
      Expect(a.q_b_proj, b.q_b_proj);
      Expect(a.kv_a_proj, b.kv_a_proj);
      Expect(a.o_proj, b.o_proj);
      Expect(a.mlp, b.mlp);
      Expect(a.shared_expert, b.shared_expert);
      REQUIRE(a.experts.size() == b.experts.size());
      for (size_t e = 0; e < a.experts.size(); ++e) Expect(a.experts[e], b.experts[e]);
    }
  }
};

void RequireAsStored(const WeightView& view, const WeightView& stored) {
  REQUIRE(view.dtype == stored.dtype);
  const auto bytes = static_cast<size_t>(BytesOf(stored.dtype, stored.rows * stored.cols));
  REQUIRE(std::memcmp(view.data, stored.data, bytes) == 0);
}

TEST_CASE("projections, experts and the head become copies, and nothing else", "[copies]") {
  for (TestModel& test : std::vector<TestModel>{MakeLatentMla("blockwise"), MakeDeepseekV3()}) {
    test.SetDType("BF16");
    for (const WeightCopies format : kBoth) {
      const auto stored = Load(test), model = Load(test, format);
      const Weights &was = stored->weights, &is = model->weights;
      CHECK((is.format == format && was.format == WeightCopies::kNone));
      RequireAsStored(is.embedding, was.embedding);
      for (size_t i = 0; i < was.layers.size(); ++i) {
        RequireAsStored(is.layers[i].kv_b_proj, was.layers[i].kv_b_proj);
        CHECK(is.layers[i].router_weight == was.layers[i].router_weight);
        CHECK(is.layers[i].kv_a_norm == was.layers[i].kv_a_norm);
      }
      Copies copies(format);
      copies.ExpectAll(is, was);
      const bool is_int8 = format == WeightCopies::kInt8;
      CHECK(model->notes ==
            std::vector<std::string>{absl::StrCat(
                copies.count, " matrices are served as ", is_int8 ? "int8" : "int4", " copies of ",
                copies.bytes, " bytes in all", is_int8 ? "" : ", the head as int8")});
      CHECK(is.num_parameters == was.num_parameters);
      CHECK(is.num_bytes == was.num_bytes);
    }
  }
}

TEST_CASE("a tied embedding stays and lends the head its copy", "[copies]") {
  const TestModel test = MakeYoutu();
  const auto stored = Load(test);
  for (const WeightCopies format : kBoth) {
    const auto model = Load(test, format);
    RequireAsStored(model->weights.embedding, stored->weights.embedding);
    Copies(format).ExpectAll(model->weights, stored->weights);
  }
}

TEST_CASE("matrices that are stored quantised stay as they are", "[copies]") {
  TestModel test = MakeDeepseekV3();
  test.config["quantization_config"] = Fp8Config();
  const std::string layer = "model.layers.0.";
  for (const char* name : {"mlp.gate_proj.weight", "self_attn.kv_b_proj.weight"}) {
    QuantiseFp8(&test, layer + name);
  }
  const auto model = Load(test, WeightCopies::kInt8);
  const LayerWeights& first = model->weights.layers[0];
  CHECK(first.mlp.gate.dtype == DType::kE4M3);
  CHECK(first.mlp.up.dtype == DType::kInt8);
  CHECK(first.kv_b_proj.dtype == DType::kF32);  // dequantised, as without copies
  REQUIRE(model->notes.size() == 2);
  CHECK(model->notes[1] == "1 matrices are stored quantised and served as they are");
}

TEST_CASE("to describe a folder no copies are made", "[copies]") {
  const auto model = Load(MakeDeepseekV3(), WeightCopies::kInt8, /*describe_only=*/true);
  CHECK(model->weights.layers[0].mlp.gate.dtype == DType::kF32);
  CHECK(model->weights.format == WeightCopies::kNone);
}

TEST_CASE("progress is told in bytes of what is copied, up to all of them", "[copies]") {
  std::vector<std::pair<uint64_t, uint64_t>> told;
  LoadOptions options;
  options.copies = WeightCopies::kInt4;
  options.progress = [&](uint64_t done, uint64_t total) { told.emplace_back(done, total); };
  const auto model = TryLoad(MakeDeepseekV3(), options);
  REQUIRE(model.ok());
  REQUIRE(told.size() > 10);
  CHECK(std::is_sorted(told.begin(), told.end()));
  CHECK(told.back().first == told.back().second);
  CHECK(told.front().second == told.back().second);
  CHECK(told.back().second < (*model)->weights.num_bytes);  // not the embedding and the norms
}

TEST_CASE("copies that do not fit end the load with both numbers, in one sentence", "[copies]") {
  TestModel test = MakeDeepseekV3();
  for (const WeightCopies format : kBoth) {
    const auto model = Load(test, format);
    Copies copies(format);
    copies.ExpectAll(model->weights, Load(test)->weights);
    LoadOptions options;
    options.copies = format;
    options.available_bytes = copies.bytes;
    CHECK(TryLoad(test, options).ok());
    --*options.available_bytes;
    const auto none = TryLoad(test, options);
    REQUIRE(absl::IsResourceExhausted(none.status()));
    CHECK_THAT(std::string(none.status().message()),
               Catch::EndsWith(absl::StrCat(
                   "/model.safetensors: ", format == WeightCopies::kInt8 ? "int8" : "int4",
                   " copies of the weights take ", copies.bytes, " bytes and ", copies.bytes - 1,
                   " are available; give more memory, or serve the weights as they are stored")));
    options.describe_only = true;  // nothing is made
    CHECK(TryLoad(test, options).ok());
  }
}

TEST_CASE("copies of random weights count into the memory given", "[copies]") {
  const std::string config = MakeLatentMla().config.dump();
  const auto stored = MakeRandomModel(config, 1, 1 << 30);
  REQUIRE(stored.ok());
  const uint64_t bytes = (*stored)->weights.num_bytes;
  for (const WeightCopies format : kBoth) {
    const auto none = MakeRandomModel(config, 1, bytes, format);
    REQUIRE(absl::IsResourceExhausted(none.status()));
    CHECK_THAT(std::string(none.status().message()),
               Catch::EndsWith("bytes and 0 are available; "
                               "give more memory, or serve the weights as they are stored"));
    const auto model = MakeRandomModel(config, 1, 16 * bytes, format);  // rows are short
    REQUIRE(model.ok());
    Copies(format).ExpectAll((*model)->weights, (*stored)->weights);
  }
}

}  // namespace
}  // namespace latentd
