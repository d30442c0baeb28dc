// Constraints on the bundled demo model's tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "engine/text/constraint.h"
#include "engine/text/tokenizer.h"
#include "tests/engine/text/test_data.h"

namespace latentd::testing {

// The limits but for those on time: a machine may be busy.
inline const Constraint::Limits kTimeless = {.cpu_ms = kTimelessMs, .wall_ms = kTimelessMs};

struct ConstraintFixture {
  explicit ConstraintFixture(const std::string& model_dir = "models/demo") {
    auto loaded = Tokenizer::Load(model_dir);
    REQUIRE(loaded.ok());
    tokenizer = *std::move(loaded);
    REQUIRE(tokenizer->eos_id().has_value());
    end_ids = {*tokenizer->eos_id()};
    if (const auto end = tokenizer->TokenId("<|end|>")) end_ids.push_back(*end);
    auto made = ConstraintVocabulary::Create(*tokenizer, end_ids);
    REQUIRE(made.ok());
    vocabulary = *std::move(made);
  }

  std::unique_ptr<Constraint> Compile(Constraint::Kind kind, const std::string& source) const {
    auto constraint = Constraint::Compile(*vocabulary, kind, source, kTimeless);
    INFO(source << ": " << constraint.status().ToString());
    REQUIRE(constraint.ok());
    return *std::move(constraint);
  }

  std::vector<bool> Mask(Constraint& constraint) const {
    std::vector<uint32_t> words(vocabulary->num_mask_words() + 1, UINT32_MAX);
    const absl::Status status = constraint.FillMask(words);
    INFO(status.ToString());
    REQUIRE(status.ok());
    std::vector<bool> mask(words.size() * 32);
    for (size_t id = 0; id < mask.size(); ++id) mask[id] = words[id / 32] >> (id % 32) & 1;
    for (size_t id = tokenizer->vocab_size(); id < mask.size(); ++id) REQUIRE_FALSE(mask[id]);
    mask.resize(tokenizer->vocab_size());
    return mask;
  }

  Constraint::State State(Constraint& constraint) const {
    const auto state = constraint.GetState();
    INFO(state.status().ToString());
    REQUIRE(state.ok());
    return *state;
  }

  bool IsEnd(uint32_t id) const {
    return std::find(end_ids.begin(), end_ids.end(), id) != end_ids.end();
  }

  // What a model with no idea of the language writes under the mask: half of the time the end where
  // it is allowed, else any allowed token.
  std::string Walk(Constraint& constraint, std::mt19937& random) const {
    std::string text;
    for (int step = 0; step < 3000; ++step) {
      const std::vector<bool> mask = Mask(constraint);
      std::vector<uint32_t> allowed;
      for (uint32_t id = 0; id < mask.size(); ++id) {
        if (mask[id] && !IsEnd(id)) allowed.push_back(id);
      }
      const bool may_end = mask[end_ids[0]];
      if (may_end && (allowed.empty() || random() % 2 == 0)) {
        REQUIRE(constraint.Commit(end_ids[random() % end_ids.size()]).ok());
        return text;
      }
      REQUIRE_FALSE(allowed.empty());
      const uint32_t id = allowed[random() % allowed.size()];
      REQUIRE(constraint.Commit(id).ok());
      text += tokenizer->TokenBytes(id);
    }
    FAIL("no end within 3000 tokens: " << text);
    return text;
  }

  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ConstraintVocabulary> vocabulary;
  std::vector<uint32_t> end_ids;
};

}  // namespace latentd::testing
