// Random headers against an oracle that does the arithmetic in 128 bits and looks at every byte.
#include <catch2/catch.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/model/safetensors.h"

namespace latentd {
namespace {

struct RandomTensor {
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct RandomHeader {
  std::vector<RandomTensor> tensors;
  uint64_t data_bytes = 0;
};

using Random = std::mt19937_64;

uint64_t Below(Random& random, uint64_t bound) { return random() % bound; }

const std::vector<std::pair<std::string, unsigned>>& DTypeBits() {
  static const std::vector<std::pair<std::string, unsigned>> bits{
      {"F32", 32}, {"BF16", 16}, {"U8", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F64", 64}};
  return bits;
}

unsigned BitsOf(const std::string& dtype) {
  for (const auto& [name, bits] : DTypeBits()) {
    if (name == dtype) return bits;
  }
  return 0;
}

// Tensors laid end to end in a random order of appearance.
RandomHeader MakeGood(Random& random) {
  RandomHeader header;
  const uint64_t count = Below(random, 6);
  for (uint64_t i = 0; i < count; ++i) {
    RandomTensor tensor;
    tensor.dtype = DTypeBits()[Below(random, DTypeBits().size())].first;
    uint64_t elements = 1;
    for (uint64_t dims = Below(random, 4); dims > 0; --dims) {
      tensor.shape.push_back(Below(random, 5));
      elements *= tensor.shape.back();
    }
    // Four more of everything keeps 4- and 6-bit types on a byte's boundary.
    tensor.shape.push_back(4);
    tensor.begin = header.data_bytes;
    tensor.end = tensor.begin + elements * 4 * BitsOf(tensor.dtype) / 8;
    header.data_bytes = tensor.end;
    header.tensors.push_back(tensor);
  }
  std::shuffle(header.tensors.begin(), header.tensors.end(), random);
  return header;
}

uint64_t NastyNumber(Random& random, uint64_t near) {
  switch (Below(random, 5)) {
    case 0:
      return near + Below(random, 9) - 4;
    case 1:
      return Below(random, 16);
    case 2:
      return uint64_t{1} << Below(random, 64);
    case 3:
      return UINT64_MAX - Below(random, 8);
    default:
      return near;
  }
}

void Damage(Random& random, RandomHeader* header) {
  if (header->tensors.empty() || Below(random, 6) == 0) {
    header->data_bytes = NastyNumber(random, header->data_bytes);
    return;
  }
  RandomTensor& tensor = header->tensors[Below(random, header->tensors.size())];
  switch (Below(random, 5)) {
    case 0:
      tensor.begin = NastyNumber(random, tensor.begin);
      break;
    case 1:
      tensor.end = NastyNumber(random, tensor.end);
      break;
    case 2:
      tensor.shape[Below(random, tensor.shape.size())] = NastyNumber(random, tensor.shape[0]);
      break;
    case 3:
      tensor.shape.push_back(NastyNumber(random, 1));
      break;
    default:
      tensor.dtype = DTypeBits()[Below(random, DTypeBits().size())].first;
  }
}

// True when all the tensors fit: exact sizes, and every byte belonging to one of them.
bool OracleAccepts(const RandomHeader& header) {
  using Wide = unsigned __int128;
  std::map<uint64_t, Wide> ranges;  // begin → end, of tensors with bytes
  for (const RandomTensor& tensor : header.tensors) {
    // The product can pass 128 bits only past this bound, where no file can follow anyway. As in
    // the format's own reader, a dimension of zero excuses nothing that overflowed before it.
    Wide bits = BitsOf(tensor.dtype);
    for (const uint64_t dim : tensor.shape) {
      bits *= dim;
      if (bits > UINT64_MAX) return false;
    }
    if (tensor.begin > tensor.end || tensor.end > header.data_bytes) return false;
    if (bits % 8 != 0 || bits / 8 != tensor.end - tensor.begin) return false;
    if (tensor.begin == tensor.end) continue;
    if (!ranges.emplace(tensor.begin, tensor.end).second) return false;
  }
  Wide covered = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != covered) return false;
    covered = end;
  }
  if (covered != header.data_bytes) return false;
  // An empty tensor must lie at a seam.
  for (const RandomTensor& tensor : header.tensors) {
    if (tensor.begin != tensor.end) continue;
    if (tensor.begin != header.data_bytes && ranges.count(tensor.begin) == 0) return false;
  }
  return true;
}

std::string ToJson(const RandomHeader& header) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (size_t i = 0; i < header.tensors.size(); ++i) {
    const RandomTensor& tensor = header.tensors[i];
    json[absl::StrCat("t", i)] = {{"dtype", tensor.dtype},
                                  {"shape", tensor.shape},
                                  {"data_offsets", {tensor.begin, tensor.end}}};
  }
  return json.dump();
}

}  // namespace

TEST_CASE("random headers are accepted exactly when the oracle accepts them", "[safetensors]") {
  Random random(20260611);
  int accepted = 0;
  int refused = 0;
  for (int i = 0; i < 40000; ++i) {
    RandomHeader header = MakeGood(random);
    for (uint64_t damages = Below(random, 3); damages > 0; --damages) Damage(random, &header);
    const std::string json = ToJson(header);
    const bool wanted = OracleAccepts(header);
    const auto tensors = ParseSafetensorsHeader(json, header.data_bytes);
    if (tensors.ok() != wanted) {
      FAIL("oracle says " << wanted << " to " << header.data_bytes << " bytes of " << json << ": "
                          << tensors.status().message());
    }
    (wanted ? accepted : refused)++;
    if (!tensors.ok()) continue;
    CHECK(tensors->size() == header.tensors.size());
  }
  CHECK(accepted > 5000);
  CHECK(refused > 5000);
}

TEST_CASE("random bytes never harm the header's reader", "[safetensors]") {
  Random random(7);
  const std::string pieces[] = {"{",          "}",
                                "[",          "]",
                                "\"a\":",     "\"dtype\":",
                                "\"F32\"",    ",",
                                "0",          "1e9",
                                "\"shape\":", "\"data_offsets\":",
                                "-3",         "\"__metadata__\":",
                                "null",       "true"};
  for (int i = 0; i < 20000; ++i) {
    std::string text = "{";
    for (uint64_t n = Below(random, 14); n > 0; --n)
      text += pieces[Below(random, std::size(pieces))];
    const auto tensors = ParseSafetensorsHeader(text, Below(random, 64));
    if (!tensors.ok()) CHECK_FALSE(tensors.status().message().empty());
  }
}

}  // namespace latentd
