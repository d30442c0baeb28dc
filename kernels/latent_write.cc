#include "kernels/latent_write.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/core/rows.h"

namespace latentd {
namespace {

void RoundRow(const float* from, int64_t count, bf16* to) {
  for (int64_t j = 0; j < count; ++j) to[j] = ToBf16(from[j]);
}

}  // namespace

void LatentWrite(const Context& context, const LatentWriteArgs& args) {
  const auto num_tokens = static_cast<int64_t>(args.slots.size());
  const int64_t width = args.c.cols;
  const int64_t rope_dim = args.k_rope.cols;
  LATENTD_CHECK(args.c.rows == num_tokens && width <= args.row_latent && args.row_latent % 64 == 0);
  LATENTD_CHECK(rope_dim == 0 || args.k_rope.rows == num_tokens);
  LATENTD_CHECK(args.alphas.cols == 0 || args.alphas.rows == num_tokens);
  const int64_t row_end = args.row_latent + rope_dim;
  const int64_t padded_end = (row_end + 7) / 8 * 8;  // rows are whole 16-byte units
  ForEachRow(context, num_tokens, padded_end, [&](int64_t i) {
    const LatentSlot& slot = args.slots[i];
    auto* row = reinterpret_cast<bf16*>(slot.row);
    RoundRow(args.c.row(i), width, row);
    std::fill(row + width, row + args.row_latent, bf16{0});
    if (rope_dim > 0) RoundRow(args.k_rope.row(i), rope_dim, row + args.row_latent);
    std::fill(row + row_end, row + padded_end, bf16{0});
    if (args.alphas.cols > 0) {
      LATENTD_CHECK(slot.alphas != nullptr);
      std::copy_n(args.alphas.row(i), args.alphas.cols, slot.alphas);
    }
  });
}

}  // namespace latentd
