#include "kernels/latent_write.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/core/rows.h"
#include "kernels/core/scratch.h"
#include "kernels/cpu/quantise_tile.h"

namespace latentd {
namespace {

// c of a row, as int8 or bf16, zeros up to row_latent; returns where kR begins.
template <typename Element, typename Convert>
bf16* WriteLatent(const float* c, int64_t width, int64_t row_latent, std::byte* row,
                  const Convert& convert) {
  auto* to = reinterpret_cast<Element*>(row);
  std::transform(c, c + width, to, convert);
  std::fill(to + width, to + row_latent, Element{});
  return reinterpret_cast<bf16*>(to + row_latent);
}

}  // namespace

void QuantiseLatents(const Context& context, MatrixView<float> c, float* scales) {
  ForEachRow(context, c.rows, c.cols, [&](int64_t i) {
    thread_local Scratch scratch;
    auto* numbers = scratch.GetArray<int8_t>(c.cols);
    scales[i] = QuantiseToInt8(c.row(i), c.cols, numbers).scale;
    std::copy_n(numbers, c.cols, c.row(i));
  });
}

void LatentWrite(const Context& context, const LatentWriteArgs& args) {
  const auto num_tokens = static_cast<int64_t>(args.slots.size());
  const int64_t width = args.c.cols;
  const int64_t rope_dim = args.k_rope.cols;
  LATENTD_CHECK(args.c.rows == num_tokens && width <= args.row_latent && args.row_latent % 64 == 0);
  LATENTD_CHECK(rope_dim == 0 || args.k_rope.rows == num_tokens);
  LATENTD_CHECK(args.alphas.cols == 0 || args.alphas.rows == num_tokens);
  const int64_t padded_rope = (rope_dim + 7) / 8 * 8;  // rows are whole 16-byte units
  ForEachRow(context, num_tokens, args.row_latent + padded_rope, [&](int64_t i) {
    const LatentSlot& slot = args.slots[i];
    const float* c = args.c.row(i);
    LATENTD_CHECK((slot.scale != nullptr) == (args.scales != nullptr));
    bf16* rope = nullptr;
    if (args.scales != nullptr) {
      rope = WriteLatent<int8_t>(c, width, args.row_latent, slot.row,
                                 [](float number) { return static_cast<int8_t>(number); });
      *slot.scale = args.scales[i];
    } else {
      rope = WriteLatent<bf16>(c, width, args.row_latent, slot.row, ToBf16);
    }
    if (rope_dim > 0) {
      std::transform(args.k_rope.row(i), args.k_rope.row(i) + rope_dim, rope, ToBf16);
    }
    std::fill(rope + rope_dim, rope + padded_rope, bf16{0});
    if (args.alphas.cols > 0) {
      LATENTD_CHECK(slot.alphas != nullptr);
      std::copy_n(args.alphas.row(i), args.alphas.cols, slot.alphas);
    }
  });
}

}  // namespace latentd
