// Input: a safetensors file's header (JSON) after two bytes that give the length of its data.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint64_t data_bytes = data[0] | static_cast<uint64_t>(data[1]) << 8;
  const std::string_view header(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto tensors = latentd::ParseSafetensorsHeader(header, data_bytes);
  if (!tensors.ok()) return 0;
  // What is accepted covers the data exactly, in order.
  uint64_t end = 0;
  for (const latentd::TensorEntry& tensor : *tensors) {
    if (tensor.begin != end || tensor.end < tensor.begin) std::abort();
    end = tensor.end;
  }
  if (end != data_bytes) std::abort();
  return 0;
}
