#include "engine/model/inspect.h"

#include <nlohmann/json.hpp>

#include "server/cli/commands.h"
#include "server/cli/standard_output.h"

namespace latentd {

absl::Status RunInspect(const std::string& dir, const InspectCommand& command) {
  const auto model = LoadModel(dir, {.progress = {}, .describe_only = true});
  if (!model.ok()) return model.status();
  const std::string text = command.json ? InspectJson(**model, command.memory_bytes).dump(2) + "\n"
                                        : InspectText(**model, command.memory_bytes);
  return WriteToStdout(text);
}

}  // namespace latentd
