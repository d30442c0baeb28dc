// The response stream of one Score request: prompt events of the engine → messages.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "server/request_meter.h"
#include "server/service.h"

namespace latentd {

// As MakeGenerateStream. `width` is the one used, on the first message.
std::shared_ptr<ScoreStream> MakeScoreStream(const v1::Width& width,
                                             std::shared_ptr<TokenStream> tokens,
                                             const Tokenizer* tokenizer,
                                             std::unique_ptr<RequestMeter> meter,
                                             std::shared_ptr<void> done);

}  // namespace latentd
