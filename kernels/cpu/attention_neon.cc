// Absorbed attention of the neon path.
#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/neon_common.h"
#include "kernels/cpu/table.h"

namespace latentd {

AttentionKernels NeonAttention(CacheFormat format) { return AttentionF32For<Ops128, 4>(format); }

}  // namespace latentd
