// Absorbed attention on the vector paths: how the work is cut. The bits do not depend on the cut.
#pragma once

#include "kernels/core/context.h"
#include "kernels/cpu/attention_table.h"
#include "kernels/mla_attention.h"

namespace latentd {

// REQUIRES: shapes already checked by MlaAttention().
void MlaAttentionTiled(const Context& context, const AttentionKernels& kernels,
                       const MlaAttentionArgs& args);

}  // namespace latentd
