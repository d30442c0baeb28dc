#include "tests/engine/model/model_folder.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "kernels/core/dtype.h"

namespace latentd {
namespace {

using nlohmann::json;

// Exact for the values of these tests: a normal half whose low mantissa bits are zero.
uint16_t ToHalfBits(float value) {
  if (value == 0) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t exponent = ((bits >> 23) & 255) - 112;
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 1023));
}

void Append(std::string* bytes, const void* data, size_t size) {
  bytes->append(static_cast<const char*>(data), size);
}

class ModelMaker {
 public:
  explicit ModelMaker(TestModel* model) : model_(model) {}

  void Add(const std::string& name, std::vector<int64_t> shape) {
    TestTensor tensor{name, std::move(shape), "F32", {}, {}};
    // Multiples of 1/64 below 2: eight mantissa bits, so exact in bf16 and in half.
    for (int64_t i = 0; i < NumElements(tensor); ++i) {
      tensor.values.push_back(static_cast<float>(1 + (next_++ % 127)) / 64);
    }
    model_->tensors.push_back(std::move(tensor));
  }

  void AddMlp(const std::string& prefix, int64_t units, int64_t hidden) {
    Add(prefix + "gate_proj.weight", {units, hidden});
    Add(prefix + "up_proj.weight", {units, hidden});
    Add(prefix + "down_proj.weight", {hidden, units});
  }

  void AddAttention(const std::string& prefix, int64_t groups) {
    Add(prefix + "q_a_proj.weight", {12, 32});
    Add(prefix + "q_a_layernorm.weight", {12});
    Add(prefix + "q_b_proj.weight", {4 * 10, 12});
    Add(prefix + "kv_a_proj_with_mqa.weight", {16 + 4, 32});
    Add(prefix + "kv_a_layernorm.weight", {16});
    Add(prefix + "kv_b_proj.weight", {groups * (6 + 8), 16});
    Add(prefix + "o_proj.weight", {32, 4 * 8});
  }

  void AddLayerNorms(const std::string& prefix) {
    Add(prefix + "input_layernorm.weight", {32});
    Add(prefix + "post_attention_layernorm.weight", {32});
  }

 private:
  TestModel* model_;
  int next_ = 0;
};

std::string Layer(int index) { return "model.layers." + std::to_string(index) + "."; }

json Geometry() {
  return json{{"vocab_size", 40},
              {"hidden_size", 32},
              {"intermediate_size", 24},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"q_lora_rank", 12},
              {"kv_lora_rank", 16},
              {"qk_nope_head_dim", 6},
              {"qk_rope_head_dim", 4},
              {"v_head_dim", 8},
              {"max_position_embeddings", 256}};
}

TestModel MakeDense(const std::string& family, int64_t groups, bool tied) {
  TestModel model;
  model.config = Geometry();
  model.config["model_type"] = family;
  ModelMaker maker(&model);
  maker.Add("model.embed_tokens.weight", {40, 32});
  for (int i = 0; i < 2; ++i) {
    maker.AddLayerNorms(Layer(i));
    maker.AddAttention(Layer(i) + "self_attn.", groups);
    maker.AddMlp(Layer(i) + "mlp.", 24, 32);
  }
  maker.Add("model.norm.weight", {32});
  if (!tied) maker.Add("lm_head.weight", {40, 32});
  return model;
}

}  // namespace

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "latentd-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void TempFolder::Write(const std::string& name, std::string_view bytes) const {
  std::ofstream file(path_ + "/" + name, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + name);
}

int64_t NumElements(const TestTensor& tensor) {
  return std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1},
                         std::multiplies<int64_t>());
}

std::string TensorBytes(const TestTensor& tensor) {
  if (!tensor.bytes.empty()) return tensor.bytes;
  std::string bytes;
  for (const float value : tensor.values) {
    if (tensor.dtype == "F32") Append(&bytes, &value, 4);
    const uint16_t bits = tensor.dtype == "F16" ? ToHalfBits(value) : ToBf16(value).bits;
    if (tensor.dtype == "F16" || tensor.dtype == "BF16") Append(&bytes, &bits, 2);
  }
  if (bytes.empty()) bytes.resize(static_cast<size_t>(NumElements(tensor)));  // a one-byte dtype
  return bytes;
}

std::string SafetensorsBytes(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i)));
  bytes.append(header).append(data);
  return bytes;
}

std::string SafetensorsBytes(const std::vector<TestTensor>& tensors, bool pad_header) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const TestTensor& tensor : tensors) {
    const std::string bytes = TensorBytes(tensor);
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data += bytes;
  }
  std::string text = header.dump();
  while (pad_header && text.size() % 8 != 0) text.push_back(' ');
  return SafetensorsBytes(text, data);
}

TestTensor& TestModel::Find(const std::string& name) {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(),
                   [&name](const TestTensor& tensor) { return tensor.name == name; });
  if (found == tensors.end()) throw std::runtime_error("no test tensor " + name);
  return *found;
}

void TestModel::Remove(const std::string& name) {
  tensors.erase(tensors.begin() + (&Find(name) - tensors.data()));
}

void TestModel::SetDType(const std::string& dtype) {
  for (TestTensor& tensor : tensors) tensor.dtype = dtype;
}

void TestModel::Write(const TempFolder& folder) const {
  folder.Write("config.json", config.dump(1));
  folder.Write("model.safetensors", SafetensorsBytes(tensors));
}

TestModel MakeLatentMla(const std::string& qk_norm) {
  const bool key_normed = qk_norm != "none";
  TestModel model = MakeDense("latent_mla", key_normed ? 2 : 4, false);
  if (key_normed) model.config["num_kv_groups"] = 2;
  ModelMaker maker(&model);
  for (int i = 0; i < 2; ++i) {
    const std::string prefix = Layer(i) + "self_attn.";
    for (const std::string side : {"q_", "k_"}) {
      if (qk_norm == "unified") maker.Add(prefix + side + "norm.weight", {10});
      if (qk_norm != "blockwise") continue;
      maker.Add(prefix + side + "content_norm.weight", {6});
      maker.Add(prefix + side + "rope_norm.weight", {4});
    }
  }
  return model;
}

TestModel MakeYoutu() { return MakeDense("youtu", 4, true); }

TestModel MakeDeepseekV3() {
  TestModel model = MakeDense("deepseek_v3", 4, false);
  for (const char* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
    model.Remove(Layer(1) + "mlp." + name);
  }
  model.config.update(json{{"n_routed_experts", 4},
                           {"num_experts_per_tok", 2},
                           {"moe_intermediate_size", 8},
                           {"n_shared_experts", 2},
                           {"n_group", 2},
                           {"topk_group", 1},
                           {"first_k_dense_replace", 1},
                           {"routed_scaling_factor", 2.5},
                           {"norm_topk_prob", true}});
  ModelMaker maker(&model);
  const std::string prefix = Layer(1) + "mlp.";
  maker.Add(prefix + "gate.weight", {4, 32});
  maker.Add(prefix + "gate.e_score_correction_bias", {4});
  for (int e = 0; e < 4; ++e) {
    maker.AddMlp(prefix + "experts." + std::to_string(e) + ".", 8, 32);
  }
  maker.AddMlp(prefix + "shared_experts.", 2 * 8, 32);
  return model;
}

}  // namespace latentd
