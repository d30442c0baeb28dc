// What random sampling tests draw their inputs with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <vector>

namespace latentd {

using Random = std::mt19937_64;

template <typename T>
T Pick(Random& random, std::initializer_list<T> values) {
  return *(values.begin() + static_cast<std::ptrdiff_t>(random() % values.size()));
}

// At most max_count ids below vocab.
inline std::vector<uint32_t> RandomTokens(Random& random, size_t vocab, size_t max_count) {
  std::vector<uint32_t> tokens(random() % (max_count + 1));
  for (uint32_t& token : tokens) token = static_cast<uint32_t>(random() % vocab);
  return tokens;
}

}  // namespace latentd
