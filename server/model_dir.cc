#include "server/model_dir.h"

#include <filesystem>
#include <string_view>

namespace latentd {
namespace {

constexpr std::string_view kDemoId = "latentd-demo";
}  // namespace

absl::StatusOr<std::string> DemoModelDir() {
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  for (const char* relative :
       {"../../models/demo", "../models/demo", "../share/latentd/models/demo"}) {
    const auto dir = (program.parent_path() / relative).lexically_normal();
    if (std::filesystem::exists(dir / "config.json")) return dir.string();
  }
  return absl::NotFoundError(
      "the bundled demo model was not found beside the program; give --model");
}

absl::StatusOr<std::string> ModelDir(const Options& options) {
  if (options.model.empty()) return DemoModelDir();
  return options.model;
}

std::string ModelId(const Options& options, const std::string& dir) {
  if (!options.served_model_name.empty()) return options.served_model_name;
  if (options.model.empty()) return std::string(kDemoId);
  std::error_code ignored;
  const auto path = std::filesystem::canonical(dir, ignored);
  return path.filename().empty() ? "model" : path.filename().string();
}

}  // namespace latentd
