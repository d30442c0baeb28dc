#include "engine/model/safetensors.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

std::string FaultOf(std::string_view header, uint64_t data_bytes) {
  const auto tensors = ParseSafetensorsHeader(header, data_bytes);
  return tensors.ok() ? "accepted" : std::string(tensors.status().message());
}

std::string FileFault(std::string_view bytes) {
  const TempFolder folder;
  folder.Write("model.safetensors", bytes);
  const auto file = OpenSafetensors(folder.path(), "model.safetensors");
  return file.ok() ? "accepted" : std::string(file.status().message());
}

constexpr char kTwo[] = R"({
  "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [8, 20]},
  "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"format": "pt"}})";

}  // namespace

TEST_CASE("a header's entries come in the order of their data", "[safetensors]") {
  const auto tensors = ParseSafetensorsHeader(kTwo, 20);
  REQUIRE(tensors.ok());
  REQUIRE(tensors->size() == 2);
  CHECK((*tensors)[0].name == "a");
  CHECK((*tensors)[0].type->weight == DType::kF32);
  CHECK((*tensors)[1].name == "b");
  CHECK((*tensors)[1].shape == std::vector<uint64_t>{2, 3});
  CHECK((*tensors)[1].begin == 8);
  CHECK((*tensors)[1].end == 20);
  CHECK((*tensors)[1].num_elements() == 6);
}

TEST_CASE("forms of a good header", "[safetensors]") {
  CHECK(FaultOf("{}", 0) == "accepted");
  CHECK(FaultOf("{}      ", 0) == "accepted");
  CHECK(FaultOf(R"({"s": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}})", 4) ==
        "accepted");
  CHECK(FaultOf(R"({"e": {"dtype": "F32", "shape": [0, 5], "data_offsets": [0, 0]}})", 0) ==
        "accepted");
  CHECK(FaultOf(R"({"q": {"dtype": "F4", "shape": [3, 2], "data_offsets": [0, 3]}})", 3) ==
        "accepted");
  CHECK(FaultOf(R"({"q": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}})", 3) ==
        "accepted");
}

TEST_CASE("malformed headers are refused by name", "[safetensors]") {
  struct Case {
    const char* header;
    uint64_t data_bytes;
    std::vector<std::string> wanted;
  };
  const std::vector<Case> cases{
      {"", 0, {"begin with '{'"}},
      {" {}", 0, {"begin with '{'"}},
      {"[]", 0, {"begin with '{'"}},
      {"{", 0, {"not valid JSON"}},
      {R"({"a": 1})", 0, {"'a' must be an object, not the number 1"}},
      {R"({"a": [1]})", 0, {"'a' must be an object, not an array"}},
      {R"({"a": {}})", 0, {"tensor 'a' has no dtype"}},
      {R"({"a": {"dtype": "F32", "shape": [1]}})", 4, {"tensor 'a' has no data_offsets"}},
      {R"({"a": {"dtype": "F32", "data_offsets": [0, 4]}})", 4, {"tensor 'a' has no shape"}},
      {R"({"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}})",
       4,
       {"tensor 'a'", "unknown dtype 'F33'"}},
      {R"({"a": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}})",
       4,
       {"tensor 'a' has a wrong dtype: the number 5"}},
      {R"({"a": {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]}})",
       4,
       {"tensor 'a' has a wrong shape: the number 1"}},
      {R"({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})",
       4,
       {"tensor 'a'", "whole numbers in its shape", "-1"}},
      {R"({"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}})", 4, {"'a'", "1.5"}},
      {R"({"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}})",
       4,
       {"not valid JSON", "'a'"}},
      {R"({"a": {"dtype": "F32", "shape": [[1]], "data_offsets": [0, 4]}})",
       4,
       {"'a'", "an array"}},
      {R"({"a": {"dtype": "U8", "shape": [1,1,1,1,1,1,1,1,1], "data_offsets": [0, 1]}})",
       1,
       {"'a' has more than 8 dimensions"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}})",
       4,
       {"'a'", "two whole numbers in data_offsets"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}})",
       4,
       {"'a'", "two whole numbers in data_offsets"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "4"]}})",
       4,
       {"'a'", "two whole numbers in data_offsets"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 18446744073709551616]}})",
       4,
       {"'a'", "data_offsets"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "x": 1}})",
       4,
       {"tensor 'a' has the unknown key 'x'"}},
      {R"({"a": {"dtype": "F32", "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})",
       4,
       {"'a' has the key 'dtype' twice"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
           "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}})",
       8,
       {"tensor 'a' is given twice"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})",
       4,
       {"tensor 'a'", "run backwards"}},
      {R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})",
       4,
       {"tensor 'a' ends at byte 8", "only 4"}},
      {R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}})",
       4,
       {"tensor 'a' has 4 bytes", "make 8"}},
      {R"({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}})",
       2,
       {"tensor 'a'", "shape"}},
      {R"({"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}})",
       0,
       {"tensor 'a'", "shape"}},
      {R"({"a": {"dtype": "F32", "shape": [18446744073709551615], "data_offsets": [0, 4]}})",
       4,
       {"tensor 'a'", "shape"}},
      {R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
           "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}})",
       12,
       {"tensor 'b' overlaps tensor 'a'"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
           "b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}})",
       12,
       {"tensor 'b' begins at byte 8", "from 4"}},
      {R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})", 10, {"last 6 bytes"}},
      {R"({"__metadata__": {"format": 1}})", 0, {"__metadata__", "'format'"}},
      {R"({"__metadata__": {"format": {}}})", 0, {"__metadata__", "'format'"}},
      {R"({"__metadata__": []})", 0, {"__metadata__"}},
      {R"({"__metadata__": {}, "__metadata__": {}})", 0, {"__metadata__ is given twice"}},
  };
  for (const Case& test : cases) {
    INFO(test.header);
    const std::string fault = FaultOf(test.header, test.data_bytes);
    for (const std::string& wanted : test.wanted) CHECK_THAT(fault, Catch::Contains(wanted));
  }
}

TEST_CASE("a file is only what its length warrants", "[safetensors]") {
  using Catch::Contains;
  const std::string good = SafetensorsBytes(kTwo, std::string(20, '\0'));
  CHECK(FileFault(good) == "accepted");
  CHECK_THAT(FileFault(""), Contains("model.safetensors: is empty"));
  CHECK_THAT(FileFault("1234567"), Contains("model.safetensors: is 7 bytes long"));
  CHECK_THAT(FileFault(good.substr(0, 40)),
             Contains("model.safetensors: declares a header of") && Contains("only 32"));
  CHECK_THAT(FileFault(std::string("\3\0\0\0\0\0\0\0{}", 10)),
             Contains("declares a header of 3 bytes") && Contains("only 2"));
  CHECK_THAT(FileFault(good.substr(0, good.size() - 1)),
             Contains("model.safetensors: tensor 'b' ends at byte 20") && Contains("only 19"));
  CHECK_THAT(FileFault(good + "x"), Contains("model.safetensors: the last 1 bytes"));
  CHECK_THAT(FileFault(std::string(8, '\xff') + "{}"),
             Contains("declares a header of 18446744073709551615 bytes, at most 100000000"));
}

TEST_CASE("a header costs no more than its tensors may", "[safetensors]") {
  std::string header = "{";
  for (int i = 0; i <= 1 << 19; ++i) {
    header += absl::StrCat(i == 0 ? "" : ",", "\"", i,
                           "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
  }
  CHECK_THAT(FaultOf(header + "}", 0), Catch::Contains("more than 524288 tensors"));
}

TEST_CASE("an opened file points at its data", "[safetensors]") {
  const TempFolder folder;
  std::string data;
  for (char i = 0; i < 20; ++i) data.push_back(i);
  folder.Write("x.safetensors", SafetensorsBytes(kTwo, data));
  const auto file = OpenSafetensors(folder.path(), "x.safetensors");
  REQUIRE(file.ok());
  CHECK(file->file->name() == "x.safetensors");
  CHECK(std::memcmp(file->data, data.data(), data.size()) == 0);
}

}  // namespace latentd
