// What a person at a terminal sees while something long goes on, and the JSON form of the log.
#pragma once

#include <spdlog/formatter.h>

#include <cstdint>
#include <memory>
#include <string>

namespace latentd {

// One line, redrawn in place; silent unless fd is a terminal. Erases itself at the end.
class LoadProgressBar {
 public:
  LoadProgressBar(std::string label, int fd);
  ~LoadProgressBar();
  LoadProgressBar(const LoadProgressBar&) = delete;
  LoadProgressBar& operator=(const LoadProgressBar&) = delete;
  void Show(uint64_t done, uint64_t total);

 private:
  const std::string label_;
  const int fd_;
  const bool terminal_;
  int shown_percent_ = -1;
};

// {"time", "level", "message"}, one object a line.
std::unique_ptr<spdlog::formatter> JsonLogFormatter();

}  // namespace latentd
