// Absorbed attention of the avx2 path.
#include <immintrin.h>

#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/avx2_common.h"
#include "kernels/cpu/table.h"

namespace latentd {

AttentionKernels Avx2Attention() { return AttentionKernelsFor<AttentionF32<Ops256, 2>>(); }

}  // namespace latentd
