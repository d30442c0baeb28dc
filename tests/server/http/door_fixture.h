// A running door over doubles, on a free port.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "server/http/http_door.h"
#include "tests/server/http/fake_service.h"
#include "tests/server/http/raw_client.h"

namespace latentd {

struct DoorFixture {
  explicit DoorFixture(const DoorLimits& limits = {}) { Open(limits); }
  // Settings of the service that must be made before the door starts.
  template <typename Prepare>
  DoorFixture(const DoorLimits& limits, Prepare prepare) {
    prepare(&service);
    Open(limits);
  }
  int port() const { return door->port(); }
  // One request on a connection of its own.
  RawResponse Ask(const std::string& request) {
    RawClient client(port());
    client.Send(request);
    return client.Read(request.rfind("HEAD ", 0) == 0);
  }

  FakeService service;
  FakeMetrics metrics;
  std::unique_ptr<HttpDoor> door;

 private:
  void Open(const DoorLimits& limits) {
    HttpDoor::Options options;
    options.port = 0;
    options.limits = limits;
    options.version = "1.2.3";
    auto started = HttpDoor::Start(options, &service, &metrics);
    if (!started.ok()) throw std::runtime_error(std::string(started.status().message()));
    door = *std::move(started);
  }
};

// A completion of one message: "ok", 3 prompt tokens, 2 generated.
inline void AnswerOk(FakeCall* call) {
  call->Send(
      "text: 'ok' token_ids: [11, 12] finish_reason: FINISH_REASON_LENGTH "
      "usage { prompt_tokens: 3 completion_tokens: 2 } width { q: 64 kv: 32 }");
  call->End();
}

}  // namespace latentd
