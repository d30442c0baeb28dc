#include "server/http/logprobs_json.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace latentd {
namespace {

constexpr double kLowest = -9999;

double Finite(float logprob) {
  return std::isfinite(logprob) ? static_cast<double>(logprob) : kLowest;
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Bytes that follow this one in its character.
int NumFollowing(char first) {
  const auto byte = static_cast<unsigned char>(first);
  if (byte >= 0xF0) return byte <= 0xF4 ? 3 : 0;
  if (byte >= 0xE0) return 2;
  return byte >= 0xC2 ? 1 : 0;
}

Json Bytes(const std::string& bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

// The token, then at most `top` alternatives, none twice by its key.
template <typename Key, typename Value>
Json Alternatives(const v1::TokenLogprob& token, uint32_t top, Key key, Value value) {
  Json map = Json::object();
  map[key(token)] = value(token);
  const int count = std::min(token.top_size(), static_cast<int>(std::min(top, 1u << 20)));
  for (int i = 0; i < count; ++i) {
    const v1::TokenLogprob& other = token.top(i);
    if (other.token_id() != token.token_id()) map.emplace(key(other), value(other));
  }
  return map;
}

}  // namespace

bool IsSilentStart(const v1::TokenLogprob& first, std::string_view text) {
  std::string_view bytes = first.token_bytes();
  if (text.starts_with(bytes)) return false;
  if (!bytes.empty() && bytes.front() == ' ') bytes.remove_prefix(1);  // some tokenizers add one
  return bytes.empty() || !text.starts_with(bytes);
}

void LegacyLogprobs::Append(const v1::TokenLogprob& token, uint32_t top, bool silent, Json* out) {
  if (out->is_null()) {
    *out = {{"text_offset", Json::array()},
            {"token_logprobs", Json::array()},
            {"tokens", Json::array()},
            {"top_logprobs", Json::array()}};
  }
  const std::string& bytes = token.token_bytes();
  const bool inside = !bytes.empty() && IsContinuation(bytes[0]) && num_missing_ > 0;
  (*out)["text_offset"].push_back(inside ? num_chars_ - 1 : num_chars_);
  for (const char byte : silent ? std::string() : bytes) {
    if (IsContinuation(byte) && num_missing_ > 0) {
      --num_missing_;
    } else {
      ++num_chars_;
      num_missing_ = NumFollowing(byte);
    }
  }
  (*out)["tokens"].push_back(token.token());
  if (!token.has_logprob()) {
    (*out)["token_logprobs"].push_back(nullptr);
    (*out)["top_logprobs"].push_back(nullptr);
    return;
  }
  (*out)["token_logprobs"].push_back(Finite(token.logprob()));
  (*out)["top_logprobs"].push_back(Alternatives(
      token, top, [](const v1::TokenLogprob& t) { return t.token(); },
      [](const v1::TokenLogprob& t) { return Json(Finite(t.logprob())); }));
}

Json ChatLogprob(const v1::TokenLogprob& token) {
  const auto entry = [](const v1::TokenLogprob& t) {
    return Json{
        {"token", t.token()}, {"logprob", Finite(t.logprob())}, {"bytes", Bytes(t.token_bytes())}};
  };
  Json result = entry(token);
  Json& top = result["top_logprobs"] = Json::array();
  for (const v1::TokenLogprob& other : token.top()) top.push_back(entry(other));
  return result;
}

Json PromptLogprobs(const TokenLogprobList& tokens, uint32_t top) {
  Json list = Json::array();
  for (const v1::TokenLogprob& token : tokens) {
    if (!token.has_logprob()) {
      list.push_back(nullptr);
      continue;
    }
    list.push_back(Alternatives(
        token, top, [](const v1::TokenLogprob& t) { return std::to_string(t.token_id()); },
        [](const v1::TokenLogprob& t) {
          return Json{
              {"logprob", Finite(t.logprob())}, {"rank", t.rank()}, {"decoded_token", t.token()}};
        }));
  }
  return list;
}

}  // namespace latentd
