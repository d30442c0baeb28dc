#include "bench/gpu/peers/peer_run.h"

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "kernels/cuda/measure/traffic.h"

namespace latentd::bench {
namespace {

// More than either library takes: workspaces of 136 MiB; partial sums of 64 + 132 parts of 128
// rows.
constexpr int64_t kLibraryBytes = int64_t{256} << 20;

constexpr uint32_t kOutSeed = 7;

int64_t OutBytes(const DecodeShape& shape) { return shape.QueryRows() * 2 * shape.row_latent; }

}  // namespace

PeerRun::PeerRun(const DecodeShape& shape, const cuda::DeviceBuffer& pool, const DecodeCase& ours)
    : out_(static_cast<size_t>(OutBytes(shape))) {
  // What the peer leaves unwritten is then wrong, whatever this memory held before.
  cuda::FillRandom(nullptr, out_.data(), static_cast<int64_t>(out_.bytes()), kOutSeed);
  LATENTD_CHECK(shape.row_latent == 512 && shape.rope_dim == 64 && shape.num_kv_groups == 0);
  for (const uint32_t granule : ours.tables()) {
    tables_.push_back(static_cast<int>(granule / BlockGranules(shape)));
  }
  PeerCase one;
  one.batch = static_cast<int>(shape.batch);
  one.context = static_cast<int>(shape.context);
  one.query_tokens = static_cast<int>(shape.query_tokens);
  one.num_heads = static_cast<int>(shape.num_heads);
  one.softmax_scale = ours.softmax_scale();
  one.q = ours.q();
  one.num_blocks = static_cast<int>(tables_.size());
  one.pool = pool.data();
  one.blocks_of_sequence = static_cast<int>(shape.BlocksOfSequence());
  one.block_tables = tables_.data();
  one.out = out_.data();
  peer_ = MakePeer(one);
}

int64_t PeerRun::Bytes(const DecodeShape& shape) { return OutBytes(shape) + kLibraryBytes; }

std::vector<float> PeerRun::Output() const {
  std::vector<bf16> stored(out_.bytes() / sizeof(bf16));
  out_.Download(stored.data());
  std::vector<float> out;
  out.reserve(stored.size());
  for (const bf16 value : stored) out.push_back(ToFloat(value));
  return out;
}

}  // namespace latentd::bench
