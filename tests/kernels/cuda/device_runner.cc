// The device as a back end of the suite, and a main that names what it skips where there is none.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <cstdio>

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

// 77: what ctest takes for "skipped".
int main(int argc, char** argv) {
  if (latentd::cuda::NumDevices() > 0) return Catch::Session().run(argc, argv);
  const auto& tests = Catch::getRegistryHub().getTestCaseRegistry().getAllTests();
  for (const Catch::TestCase& test : tests) {
    std::printf("skipped: no device: %s\n", test.name.c_str());
  }
  std::printf("%zu tests skipped: no device\n", tests.size());
  return 77;
}
