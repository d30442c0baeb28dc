// The response stream of one Generate request: token events of the engine → messages.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/choice_output.h"
#include "server/request_meter.h"
#include "server/service.h"

namespace latentd {

// What a stream needs to know about its request.
struct GenerationSpec {
  std::string request_id;
  uint32_t num_choices = 1;
  bool logprobs = false;  // of generated tokens
  OutputOptions output;
  v1::Width width;               // the one used, unless
  bool width_by_policy = false;  // the engine tells it with the first event
  // echo only: the prompt's text (UTF-8) and ids; empty otherwise.
  std::string echo_text;
  std::vector<uint32_t> echo_ids;
};

// `done` is dropped when the request is over. Borrows the tokenizer. The stream has one consumer;
// Cancel may be called from any thread.
std::shared_ptr<GenerateStream> MakeGenerateStream(GenerationSpec spec,
                                                   std::shared_ptr<TokenStream> tokens,
                                                   const Tokenizer* tokenizer,
                                                   std::unique_ptr<RequestMeter> meter,
                                                   std::shared_ptr<void> done);

// Messages are closed when they hold this much: with the largest single addition they stay well
// under the 1 MiB of the contract.
inline constexpr size_t kMessageBytes = 256u << 10;

// The length of the longest prefix of `text` that has at most `max_bytes` and cuts no character.
size_t WholeCharacters(std::string_view text, size_t max_bytes);

}  // namespace latentd
