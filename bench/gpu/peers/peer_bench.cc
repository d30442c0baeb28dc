// Times our decode attention and a peer's in turn, with a cold L2, over one pool; checks the peer.
//   latentd_gpu_peer_NAME --about       library and version; needs no device
//   latentd_gpu_peer_NAME --list        names of the rows, one a line; needs no device
//   latentd_gpu_peer_NAME --row NAME    one row, as JSON
// Exit status 0, 1 (the device's memory is too small, or a result is wrong), 2 (usage), 3 (the peer
// refuses the row), 77 (no device).
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gpu/decode_case.h"
#include "bench/gpu/measure.h"
#include "bench/gpu/peers/peer_check.h"
#include "bench/gpu/peers/peer_run.h"
#include "bench/gpu/report_json.h"
#include "bench/gpu/rows.h"
#include "kernels/cuda/measure/traffic.h"

namespace latentd::bench {
namespace {

constexpr int kRefused = 3, kNoDevice = 77;
constexpr uint32_t kPoolSeed = 5;

Json TimeBoth(const DecodeShape& shape, const cuda::DeviceFacts& device) {
  const cuda::DeviceBuffer pool(static_cast<size_t>(PoolBytes(shape)));
  cuda::FillRandom(nullptr, pool.data(), static_cast<int64_t>(pool.bytes()), kPoolSeed);
  DecodeCase ours(shape, pool, device.num_processors);
  PeerRun theirs(shape, pool, ours);
  ColdCache cold(device);
  const std::vector<std::function<void()>> works = {[&] { ours.Launch(); },
                                                    [&] { theirs.Launch(); }};
  const auto seconds = TimeInTurn(works, cold, kLeastRounds, 2 * kSecondsOfRow);
  const double apart = CheckBesideOurs(theirs.Output(), ours.Output(), shape.row_latent);
  return {{"farthest_row", apart},
          {"cases", {Described(shape, seconds[0]), Described(shape, seconds[1])}}};
}

int RunRow(const Row& row, const cuda::DeviceFacts& device) {
  const DecodeShape& shape = row.shapes[0];
  const int64_t needed = PoolBytes(shape) + DecodeCase::Bytes(shape, device.num_processors) +
                         PeerRun::Bytes(shape) + ColdCache::Bytes(device);
  if (needed > device.free_bytes) {
    std::fprintf(stderr, "%s: needs %lld bytes of device memory, %lld are free\n",
                 std::string(row.name).c_str(), static_cast<long long>(needed),
                 static_cast<long long>(device.free_bytes));
    return 1;
  }
  try {
    Json report = {{"row", row.name}, {"device", device.name}, {"peer", PeerName()}};
    report["worst_difference"] = CheckSmallOf(shape, device.num_processors);
    report.update(TimeBoth(shape, device));
    return Print(report);
  } catch (const WrongResult& wrong) {
    std::fprintf(stderr, "%s: %s\n", PeerName(), wrong.what());
    return 1;
  } catch (const std::exception& refused) {
    std::fprintf(stderr, "%s refuses: %s\n", PeerName(), refused.what());
    return kRefused;
  }
}

int Usage(const char* program) {
  std::fprintf(stderr, "usage: %s --about | --list | --row NAME\n", program);
  return 2;
}

int Run(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "--about" && argc == 2) {
    std::printf("%s\n", PeerName());
    return 0;
  }
  if (command == "--list" && argc == 2) {
    for (const Row& row : Rows()) {
      if (IsComparable(row)) std::printf("%s\n", std::string(row.name).c_str());
    }
    return 0;
  }
  const Row* row = command == "--row" && argc == 3 ? FindRow(argv[2]) : nullptr;
  if (row == nullptr || !IsComparable(*row)) return Usage(argv[0]);
  if (!cuda::UseDevice()) {
    std::fprintf(stderr, "%s: no device of compute capability 9.0\n", argv[0]);
    return kNoDevice;
  }
  return RunRow(*row, cuda::DescribeDevice());
}

}  // namespace
}  // namespace latentd::bench

int main(int argc, char** argv) { return latentd::bench::Run(argc, argv); }
