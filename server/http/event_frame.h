// What surrounds the choice in the events of one stream. Only a choice changes from token to token,
// and mostly only its text, so the rest is written once. Immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/json/json.h"

namespace latentd {

// {"index", key: value, "logprobs": null, "finish_reason": null}
Json EventChoice(uint32_t index, const char* key, Json value);

class EventFrame {
 public:
  // envelope: what stands before the choices. with_null_usage: the stream's usage comes later.
  EventFrame(const Json& envelope, bool chat, bool with_null_usage);

  // Appends the event of one choice. prompt_ids: shown beside it unless null.
  void Append(const Json& choice, const std::vector<uint32_t>* prompt_ids, std::string* out) const;
  // The same as Append of the choice that brings `text` and nothing else, without building it.
  void AppendText(uint32_t index, std::string_view text, std::string* out) const;

 private:
  std::string before_choice_, after_choice_;  // without the event's last bracket
  std::string before_index_, before_text_, after_text_;
};

}  // namespace latentd
