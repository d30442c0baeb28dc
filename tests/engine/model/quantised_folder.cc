#include "tests/engine/model/quantised_folder.h"

#include <cmath>
#include <cstring>
#include <random>

#include "kernels/core/dtype.h"
#include "kernels/core/rounding.h"

namespace latentd {
namespace {

using nlohmann::json;

// By the fields of the format; no NaN is asked for.
double E4M3(int byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return byte & 0x80 ? -magnitude : magnitude;
}

}  // namespace

json Fp8Config() {
  return {{"quant_method", "fp8"},
          {"fmt", "e4m3"},
          {"activation_scheme", "dynamic"},
          {"weight_block_size", {128, 128}}};
}

json Int4Config(int group_size) {
  const json weights = {{"num_bits", 4},       {"type", "int"},    {"symmetric", true},
                        {"strategy", "group"}, {"dynamic", false}, {"group_size", group_size},
                        {"actorder", nullptr}, {"observer", "mse"}};
  const json group = {{"targets", {"Linear"}},
                      {"weights", weights},
                      {"input_activations", nullptr},
                      {"output_activations", nullptr}};
  return {{"quant_method", "compressed-tensors"},      {"format", "pack-quantized"},
          {"quantization_status", "compressed"},       {"kv_cache_scheme", nullptr},
          {"ignore", {"lm_head", "re:.*self_attn.*"}}, {"config_groups", {{"group_0", group}}}};
}

std::vector<double> QuantiseFp8(TestModel* model, const std::string& name,
                                bool power_of_two_scales) {
  constexpr int64_t kBlock = 128;
  TestTensor& tensor = model->Find(name);
  const std::vector<int64_t> shape = tensor.shape;
  const int64_t rows = shape[shape.size() - 2], cols = shape.back();
  const int64_t count = NumElements(tensor) / (rows * cols);
  const int64_t scale_rows = CeilDiv(rows, kBlock), scale_cols = CeilDiv(cols, kBlock);
  TestTensor scale{name + "_scale_inv", shape, "F32", {}, {}};
  scale.shape[shape.size() - 2] = scale_rows;
  scale.shape[shape.size() - 1] = scale_cols;
  std::mt19937 random(static_cast<uint32_t>(rows * 1000 + cols));
  for (int64_t i = 0; i < count * scale_rows * scale_cols; ++i) {
    const auto value = static_cast<float>(1 + random() % 1000) / 997;
    scale.values.push_back(power_of_two_scales ? std::exp2(std::floor(std::log2(value))) : value);
  }
  tensor.dtype = "F8_E4M3";
  std::vector<double> worth;
  for (int64_t i = 0; i < count * rows * cols; ++i) {
    int byte = static_cast<int>(random() & 255);
    if ((byte & 0x7f) == 0x7f) byte = 0;
    tensor.bytes.push_back(static_cast<char>(byte));
    const int64_t matrix = i / (rows * cols), row = i / cols % rows, col = i % cols;
    const int64_t block = (matrix * scale_rows + row / kBlock) * scale_cols + col / kBlock;
    worth.push_back(E4M3(byte) * scale.values[static_cast<size_t>(block)]);
  }
  model->tensors.push_back(scale);
  return worth;
}

std::vector<double> QuantiseInt4(TestModel* model, const std::string& name, int64_t group) {
  TestTensor& tensor = model->Find(name);
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1];
  TestTensor scale{name + "_scale", {rows, CeilDiv(cols, group)}, "BF16", {}, {}};
  TestTensor shape{name + "_shape", {2}, "I64", {}, {}};
  shape.bytes.resize(2 * sizeof(int64_t));
  std::memcpy(shape.bytes.data(), tensor.shape.data(), shape.bytes.size());
  std::mt19937 random(static_cast<uint32_t>(rows * 1000 + cols));
  for (int64_t i = 0; i < NumElements(scale); ++i) {
    scale.values.push_back(RoundToBf16(static_cast<float>(1 + random() % 1000) / 997));
  }
  std::vector<double> worth;
  std::string words(static_cast<size_t>(rows * CeilDiv(cols, 8) * 4), '\0');
  for (int64_t i = 0; i < rows * cols; ++i) {
    const int64_t row = i / cols, col = i % cols;
    const int value = static_cast<int>(random() & 15);
    char& byte = words[static_cast<size_t>(row * CeilDiv(cols, 8) * 4 + col / 2)];
    byte = static_cast<char>(byte | (col % 2 == 0 ? value : value << 4));
    worth.push_back((value - 8) *
                    scale.values[static_cast<size_t>(row * scale.shape[1] + col / group)]);
  }
  tensor = {name + "_packed", {rows, CeilDiv(cols, 8)}, "I32", {}, words};
  model->tensors.push_back(scale);
  model->tensors.push_back(shape);
  return worth;
}

}  // namespace latentd
