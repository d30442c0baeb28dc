#include "server/metrics.h"

namespace latentd {

Refusal RefusalOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return Refusal::kInvalid;
    case absl::StatusCode::kNotFound:
      return Refusal::kNotFound;
    case absl::StatusCode::kResourceExhausted:
      return Refusal::kFull;
    case absl::StatusCode::kUnavailable:
      return Refusal::kDraining;
    case absl::StatusCode::kDeadlineExceeded:
      return Refusal::kDeadline;
    default:
      return Refusal::kOther;
  }
}

}  // namespace latentd
