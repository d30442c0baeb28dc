// Absorbed attention of the avx2 path.
#include <immintrin.h>

#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/avx2_common.h"
#include "kernels/cpu/table.h"

namespace latentd {

AttentionKernels Avx2Attention(CacheFormat format) { return AttentionF32For<Ops256, 2>(format); }

}  // namespace latentd
