#include "server/http/event_frame.h"

#include <utility>

#include "kernels/core/check.h"
#include "server/cat.h"

namespace latentd {
namespace {

constexpr std::string_view kEnd = "}\n\n";

}  // namespace

Json EventChoice(uint32_t index, const char* key, Json value) {
  return {
      {"index", index}, {key, std::move(value)}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
}

EventFrame::EventFrame(const Json& envelope, bool chat, bool with_null_usage) {
  before_choice_ = Cat("data: ", DumpJson(envelope));
  before_choice_.pop_back();
  before_choice_ += R"(,"choices":[)";
  after_choice_ = with_null_usage ? R"(],"usage":null)" : "]";

  // Cut where the index and the text go: these are the only such keys with such values.
  const std::string choice =
      DumpJson(chat ? EventChoice(0, "delta", {{"content", ""}}) : EventChoice(0, "text", ""));
  constexpr std::string_view kIndex = R"("index":0)";
  const std::string_view text_key = chat ? R"("content":"")" : R"("text":"")";
  const size_t index = choice.find(kIndex), text = choice.find(text_key);
  LATENTD_CHECK(index < text && text != std::string::npos);
  const size_t index_end = index + kIndex.size(), text_begin = text + text_key.size() - 1;
  before_index_ = before_choice_ + choice.substr(0, index_end - 1);
  before_text_ = choice.substr(index_end, text_begin - index_end);
  after_text_ = Cat(choice.substr(text_begin), after_choice_, kEnd);
}

void EventFrame::Append(const Json& choice, const std::vector<uint32_t>* prompt_ids,
                        std::string* out) const {
  out->append(before_choice_).append(DumpJson(choice)).append(after_choice_);
  if (prompt_ids != nullptr) {
    out->append(R"(,"prompt_token_ids":)").append(DumpJson(Json(*prompt_ids)));
  }
  out->append(kEnd);
}

void EventFrame::AppendText(uint32_t index, std::string_view text, std::string* out) const {
  out->append(before_index_).append(std::to_string(index)).append(before_text_);
  AppendJsonText(text, out);
  out->append(after_text_);
}

}  // namespace latentd
