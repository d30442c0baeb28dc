// Parts of the validator (validate.h) that have a file of their own.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "engine/model/loader.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

// INVALID_ARGUMENT naming `param` unless `text` is UTF-8.
absl::Status CheckUtf8(std::string_view param, std::string_view text);

// Messages, roles, contents, tools and template settings of a chat prompt.
absl::Status CheckChat(const v1::Chat& chat, bool has_chat_template);

// Ranges of every sampling field.
absl::Status CheckSampling(const v1::Sampling& sampling, uint32_t vocab_size);

// A checked message over the checkpoint's defaults over OpenAI's. The seed is 0 where none is
// given.
SamplingParams ResolveSampling(const v1::Sampling& sampling, const GenerationDefaults& defaults);

}  // namespace latentd
