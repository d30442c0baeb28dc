// The device as a back end of the suite.
#include "kernels/cuda/device_memory.h"
#include "tests/kernels/cuda/decode_runner.h"

namespace latentd::cuda {
namespace {

// A copy of `count` elements on the device, typed for the argument that it replaces.
template <typename T>
class Copy {
 public:
  Copy(const T* from, int64_t count) : buffer_(static_cast<size_t>(count) * sizeof(T)) {
    buffer_.Upload(from);
  }
  T* data() const { return reinterpret_cast<T*>(buffer_.data()); }
  void Download(T* to) const { buffer_.Download(to); }

 private:
  DeviceBuffer buffer_;
};

}  // namespace

void RunMlaDecode(const MlaDecodeArgs& args, int64_t num_tables) {
  const DecodePlan& plan = *args.plan;
  const int64_t out_floats = args.q_rows * args.row_latent;
  const Copy q(args.q, args.q_rows * args.q_ld);
  const Copy out(args.out, out_floats);
  const Copy pool(args.pool, args.pool_bytes);
  const Copy tables(args.block_tables, num_tables * args.block_table_ld);
  const Copy items(plan.items.data(), static_cast<int64_t>(plan.items.size()));
  const Copy row_tiles(plan.row_tiles.data(), static_cast<int64_t>(plan.row_tiles.size()));
  const Copy partials(args.partials,
                      plan.num_slots * plan.slot_rows * SlotRowFloats(args.row_latent));
  MlaDecodeArgs device = args;
  device.q = q.data();
  device.out = out.data();
  device.pool = pool.data();
  device.block_tables = tables.data();
  device.items = items.data();
  device.row_tiles = row_tiles.data();
  device.partials = partials.data();
  MlaDecode(nullptr, device);
  out.Download(args.out);
}

}  // namespace latentd::cuda
