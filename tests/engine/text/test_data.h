// The goldens in tests/engine/text/data; make_goldens.py there makes them.
#pragma once

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>

#include <catch2/catch.hpp>

#include "engine/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace latentd::testing {

// A limit of processor time that no test reaches: a machine may be busy.
inline constexpr uint64_t kTimelessMs = 3'600'000;

inline const std::string kTextData = "tests/engine/text/data/";

inline std::string ReadFile(const std::string& name) {
  std::ifstream file(kTextData + name, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline nlohmann::ordered_json ReadGolden(const std::string& name) {
  return nlohmann::ordered_json::parse(ReadFile(name));
}

inline std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& name) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(kTextData + name);
  INFO(tokenizer.status().ToString());
  REQUIRE(tokenizer.ok());
  return *std::move(tokenizer);
}

}  // namespace latentd::testing
