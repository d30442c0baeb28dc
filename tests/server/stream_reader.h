// Reads a MessageStream of the service as a door does.
#pragma once

#include <optional>
#include <vector>

#include "server/service.h"

namespace latentd::testing {

// What TryNext gives until it has nothing, or the end.
template <typename Message>
struct Read {
  std::vector<Message> messages;
  std::optional<absl::Status> ended;
};

template <typename Message>
Read<Message> ReadAll(MessageStream<Message>& stream) {
  Read<Message> read;
  while (true) {
    typename MessageStream<Message>::Item item = stream.TryNext();
    if (item.message) {
      read.messages.push_back(std::move(*item.message));
    } else {
      read.ended = std::move(item.ended);
      return read;
    }
  }
}

inline std::string TextOf(const Read<v1::GenerateResponse>& read, uint32_t choice = 0) {
  std::string text;
  for (const v1::GenerateResponse& message : read.messages) {
    if (message.choice() == choice) text += message.text();
  }
  return text;
}

}  // namespace latentd::testing
