#include "server/device.h"

namespace latentd {

absl::StatusOr<std::unique_ptr<Device>> OpenDevice() {
  return absl::FailedPreconditionError(
      "--device cuda: this build has no CUDA: build with -DLATENTD_CUDA=ON, or use --device cpu");
}

}  // namespace latentd
