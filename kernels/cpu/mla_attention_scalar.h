// The oracle of kernels/mla_attention.h: one (row, head) at a time. Kept for ever.
#pragma once

#include "kernels/core/context.h"
#include "kernels/mla_attention.h"

namespace latentd {

// REQUIRES: shapes already checked by MlaAttention().
void MlaAttentionScalar(const Context& context, const MlaAttentionArgs& args);

}  // namespace latentd
