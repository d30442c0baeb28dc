// `latentd serve` of a build without doors (LATENTD_SERVER=OFF).
#include "server/serve.h"

namespace latentd {

absl::Status Serve(const Options&) {
  return absl::UnimplementedError(
      "this program was built without its doors (LATENTD_SERVER=OFF); serve with a full build");
}

}  // namespace latentd
