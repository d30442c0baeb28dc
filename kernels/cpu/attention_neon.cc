// Absorbed attention of the neon path.
#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/neon_common.h"
#include "kernels/cpu/table.h"

namespace latentd {

AttentionKernels NeonAttention() { return AttentionKernelsFor<AttentionF32<Ops128, 4>>(); }

}  // namespace latentd
