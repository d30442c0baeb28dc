#include "server/http/model_json.h"

#include "server/json/json.h"

namespace latentd {
namespace {

Json ModelJson(const v1::Model& model, int64_t created) {
  return {{"id", model.id()},
          {"object", "model"},
          {"created", created},
          {"owned_by", "latentd"},
          {"root", model.id()},
          {"parent", nullptr},
          {"max_model_len", model.max_context()}};
}

}  // namespace

std::string ModelBody(const v1::Model& model, int64_t created) {
  return DumpJson(ModelJson(model, created));
}

std::string ModelListBody(const v1::ListModelsResponse& models, int64_t created) {
  Json body = {{"object", "list"}, {"data", Json::array()}};
  for (const v1::Model& model : models.models()) body["data"].push_back(ModelJson(model, created));
  return DumpJson(body);
}

std::string TokenizeBody(const v1::TokenizeResponse& response, bool return_token_strings) {
  Json body = {{"count", response.token_ids_size()},
               {"max_model_len", response.max_context()},
               {"tokens", Json::array()},
               {"token_strs", nullptr}};
  for (const uint32_t id : response.token_ids()) body["tokens"].push_back(id);
  if (return_token_strings) {
    body["token_strs"] = Json::array();
    for (const std::string& token : response.tokens()) body["token_strs"].push_back(token);
  }
  return DumpJson(body);
}

std::string DetokenizeBody(const v1::DetokenizeResponse& response) {
  return DumpJson(Json{{"prompt", response.text()}});
}

std::string VersionBody(const std::string& version) { return DumpJson(Json{{"version", version}}); }

std::string StatusBody(const std::string& status) { return DumpJson(Json{{"status", status}}); }

}  // namespace latentd
