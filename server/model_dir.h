// Where the served model is, and what it is called.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/options.h"

namespace latentd {

// models/demo beside the program: …/build/TYPE/latentd, or …/bin/latentd with …/share/latentd.
absl::StatusOr<std::string> DemoModelDir();

// The folder that the options name, else the demo's.
absl::StatusOr<std::string> ModelDir(const Options& options);

// --served-model-name, else "latentd-demo" for the bundled model, else the last name of `dir`.
std::string ModelId(const Options& options, const std::string& dir);

}  // namespace latentd
