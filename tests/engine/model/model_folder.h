// Small model folders on disk, for tests.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace latentd {

// A folder under the system's temporary one, removed with everything in it at the end of its scope.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  void Write(const std::string& name, std::string_view bytes) const;

 private:
  std::string path_;
};

// A tensor to write: `bytes` as they are, or `values` converted to `dtype` (F32, F16 or BF16), or
// one zero byte for every element.
struct TestTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype = "F32";
  std::vector<float> values;
  std::string bytes = {};
};

int64_t NumElements(const TestTensor& tensor);
// The tensor's bytes as a file holds them.
std::string TensorBytes(const TestTensor& tensor);
// [length][header][data].
std::string SafetensorsBytes(std::string_view header, std::string_view data);
// A well-formed file of these tensors, in their order. pad_header: to a multiple of 8, as writers
// do.
std::string SafetensorsBytes(const std::vector<TestTensor>& tensors, bool pad_header = true);

// A config with all the tensors it implies; tests change either before writing.
struct TestModel {
  nlohmann::json config;
  std::vector<TestTensor> tensors;

  TestTensor& Find(const std::string& name);
  void Remove(const std::string& name);
  // Gives every tensor this dtype.
  void SetDType(const std::string& dtype);
  // config.json and model.safetensors.
  void Write(const TempFolder& folder) const;
};

// Small geometries: d 32, 2 layers, 4 heads, ranks 12 and 16, head dims 6/4/8, MLP 24,
// vocabulary 40. Values are small, differ from one another and are exact in every dtype.
TestModel MakeLatentMla(const std::string& qk_norm = "none");  // blockwise, unified: 2 groups
TestModel MakeDeepseekV3();                                    // layer 0 dense, layer 1: 4 experts
TestModel MakeYoutu();                                         // tied

}  // namespace latentd
