// What ListModels and GetModel say about the served model.
#pragma once

#include "latentd/v1/latentd.pb.h"
#include "server/service.h"

namespace latentd {

v1::Model DescribeModel(const ServiceParts& parts);

}  // namespace latentd
