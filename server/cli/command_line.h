// The command line: subcommands and flags, from the option table.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "server/cli/commands.h"
#include "server/options.h"

namespace latentd {

struct ServeCommand {};

struct CommandLine {
  std::variant<ServeCommand, GenerateCommand, ScoreCommand, InspectCommand, BenchCommand> command;
  Options options;  // resolved: flags, environment, config file, defaults
};

// Parses argv. When there is nothing left to do (help, version, an error), prints it and sets
// *exit_status: 0 for help and version, 2 for no arguments, an unknown command or flag, or a value
// that is bad whatever the files hold, 1 for a config file that cannot be read or is no JSON
// object; with one sentence as the last line of stderr.
std::optional<CommandLine> ParseCommandLine(int argc, char** argv, int* exit_status);

std::string_view Version();

}  // namespace latentd
