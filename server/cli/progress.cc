#include "server/cli/progress.h"

#include <spdlog/pattern_formatter.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace latentd {
namespace {

class JsonFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto us =
        std::chrono::duration_cast<std::chrono::microseconds>(message.time.time_since_epoch())
            .count();
    const nlohmann::ordered_json line = {
        {"time", static_cast<double>(us) * 1e-6},
        {"level", std::string(spdlog::level::to_string_view(message.level).data())},
        {"message", std::string(message.payload.data(), message.payload.size())}};
    const std::string text =
        line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

}  // namespace

LoadProgressBar::LoadProgressBar(std::string label, int fd)
    : label_(std::move(label)), fd_(fd), terminal_(isatty(fd) == 1) {}

LoadProgressBar::~LoadProgressBar() {
  if (terminal_ && shown_percent_ >= 0) dprintf(fd_, "\r\033[K");
}

void LoadProgressBar::Show(uint64_t done, uint64_t total) {
  if (!terminal_ || total == 0) return;
  const int percent = static_cast<int>(done * 100 / total);
  if (percent == shown_percent_) return;
  shown_percent_ = percent;
  const std::string bar(static_cast<size_t>(percent) * 30 / 100, '#');
  dprintf(fd_, "\r%s [%-30s] %3d %%", label_.c_str(), bar.c_str(), percent);
}

std::unique_ptr<spdlog::formatter> JsonLogFormatter() { return std::make_unique<JsonFormatter>(); }

}  // namespace latentd
