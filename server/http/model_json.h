// Small answers: models, tokens, version.
#pragma once

#include <cstdint>
#include <string>

#include "latentd/v1/latentd.pb.h"
#include "server/http/body.h"

namespace latentd {

// OpenAI's model object, with vLLM's max_model_len. `created` is in Unix seconds.
std::string ModelBody(const v1::Model& model, int64_t created);
std::string ModelListBody(const v1::ListModelsResponse& models, int64_t created);
// vLLM's shapes.
std::string TokenizeBody(const v1::TokenizeResponse& response, bool return_token_strings);
std::string DetokenizeBody(const v1::DetokenizeResponse& response);
std::string VersionBody(const std::string& version);
std::string StatusBody(const std::string& status);

}  // namespace latentd
