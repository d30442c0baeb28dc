// Absorbed attention of the avx512 path.
#include <immintrin.h>

#include "kernels/cpu/attention_f32.h"
#include "kernels/cpu/avx512_common.h"
#include "kernels/cpu/table.h"

namespace latentd {

AttentionKernels Avx512Attention(CacheFormat format) { return AttentionF32For<Ops512, 4>(format); }

}  // namespace latentd
