// A stream of answers over an engine that the test plays.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/generation.h"
#include "tests/server/byte_tokenizer.h"
#include "tests/server/fake_engine.h"
#include "tests/server/stream_reader.h"

namespace latentd::testing {

inline const Tokenizer& ByteTokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = MakeByteTokenizer();
  return *tokenizer;
}

// A stream over an engine that the test plays.
struct GenerationFixture {
  explicit GenerationFixture(GenerationSpec wanted, uint64_t prompt_tokens = 3) {
    wanted.request_id = "r1";
    wanted.width.set_q(4);
    std::sort(wanted.output.end_tokens.begin(), wanted.output.end_tokens.end());
    auto meter = std::make_unique<RequestMeter>(&metrics, &clock, clock.Now(), prompt_tokens,
                                                wanted.num_choices);
    ticket = std::make_shared<int>(0);
    stream =
        MakeGenerateStream(std::move(wanted), engine, &ByteTokenizer(), std::move(meter), ticket);
  }
  CountingMetrics metrics;
  FakeClock clock;
  std::shared_ptr<FakeTokenStream> engine = std::make_shared<FakeTokenStream>();
  std::shared_ptr<void> ticket;
  std::shared_ptr<GenerateStream> stream;
};

inline GenerationSpec WithStops(std::vector<std::string> stops) {
  GenerationSpec spec;
  spec.output.stops = std::move(stops);
  return spec;
}

}  // namespace latentd::testing
