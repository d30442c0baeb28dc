// Times the decode attention on a device, with a cold L2, beside the ceilings of the same run.
//   latentd_gpu_bench --describe    the device, as JSON
//   latentd_gpu_bench --list        names of the rows, one a line; needs no device
//   latentd_gpu_bench --ceilings    the ceilings alone, as JSON
//   latentd_gpu_bench --row NAME    one row, as JSON
// Exit status 0, 1 (the device's memory is too small), 2 (usage), 77 (no device).
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/gpu/decode_case.h"
#include "bench/gpu/measure.h"
#include "bench/gpu/report_json.h"
#include "bench/gpu/rows.h"
#include "kernels/cuda/measure/traffic.h"

namespace latentd::bench {
namespace {

constexpr int kNoDevice = 77;

Json Described(const cuda::DeviceFacts& device) {
  return {{"name", device.name},
          {"driver", device.driver_cuda},
          {"runtime", device.runtime_cuda},
          {"processors", device.num_processors},
          {"memory_bytes", device.memory_bytes},
          {"free_bytes", device.free_bytes},
          {"l2_bytes", device.l2_bytes}};
}

Json Described(const Ceilings& ceilings) {
  return {{"copy_bytes_per_second", ceilings.copy_bytes_per_second},
          {"read_bytes_per_second", ceilings.read_bytes_per_second},
          {"flops_per_second", ceilings.flops_per_second}};
}

// Device memory of the row, all at once.
int64_t BytesOf(const Row& row, const cuda::DeviceFacts& device) {
  int64_t pool = 0, cases = 0;
  for (const DecodeShape& shape : row.shapes) {
    pool = std::max(pool, PoolBytes(shape));
    cases += DecodeCase::Bytes(shape, device.num_processors);
  }
  return std::max(pool + cases + ColdCache::Bytes(device), CeilingBytes());
}

std::vector<std::vector<double>> TimeRow(const Row& row, const cuda::DeviceFacts& device) {
  int64_t pool_bytes = 0;
  for (const DecodeShape& shape : row.shapes) pool_bytes = std::max(pool_bytes, PoolBytes(shape));
  const cuda::DeviceBuffer pool(static_cast<size_t>(pool_bytes));
  cuda::FillRandom(nullptr, pool.data(), pool_bytes, 5);
  std::vector<std::unique_ptr<DecodeCase>> cases;
  std::vector<std::function<void()>> works;
  for (const DecodeShape& shape : row.shapes) {
    cases.push_back(std::make_unique<DecodeCase>(shape, pool, device.num_processors));
    works.push_back([one = cases.back().get()] { one->Launch(); });
  }
  ColdCache cold(device);
  auto seconds = TimeInTurn(works, cold, kLeastRounds, kSecondsOfRow);
  for (const auto& one : cases) one->CheckOutput();
  return seconds;
}

int RunRow(const Row& row, const cuda::DeviceFacts& device) {
  const int64_t needed = BytesOf(row, device);
  if (needed > device.free_bytes) {
    std::fprintf(stderr, "%s: needs %lld bytes of device memory, %lld are free\n",
                 std::string(row.name).c_str(), static_cast<long long>(needed),
                 static_cast<long long>(device.free_bytes));
    return 1;
  }
  const Ceilings before = MeasureCeilings(device);
  const auto seconds = TimeRow(row, device);
  const Ceilings after = MeasureCeilings(device);
  Json cases = Json::array();
  for (size_t i = 0; i < row.shapes.size(); ++i) {
    cases.push_back(Described(row.shapes[i], seconds[i]));
  }
  return Print({{"row", row.name},
                {"device", device.name},
                {"ceilings", {Described(before), Described(after)}},
                {"cases", std::move(cases)}});
}

int Usage() {
  std::fprintf(stderr, "usage: latentd_gpu_bench --describe | --list | --ceilings | --row NAME\n");
  return 2;
}

int Run(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  const Row* row = command == "--row" && argc == 3 ? FindRow(argv[2]) : nullptr;
  if (command == "--list" && argc == 2) {
    for (const Row& each : Rows()) std::printf("%s\n", std::string(each.name).c_str());
    return 0;
  }
  if (command == "--row" && argc == 3 && row == nullptr) {
    std::fprintf(stderr, "latentd_gpu_bench: no row '%s'; --list names them\n", argv[2]);
    return 2;
  }
  const bool known =
      row != nullptr || (argc == 2 && (command == "--describe" || command == "--ceilings"));
  if (!known) return Usage();
  if (cuda::NumDevices() == 0) {
    std::fprintf(stderr, "latentd_gpu_bench: no device of compute capability 9.0\n");
    return kNoDevice;
  }
  const cuda::DeviceFacts device = cuda::DescribeDevice();
  if (command == "--describe") return Print(Described(device));
  if (command == "--ceilings") {
    return Print({{"device", device.name}, {"ceilings", Described(MeasureCeilings(device))}});
  }
  return RunRow(*row, device);
}

}  // namespace
}  // namespace latentd::bench

int main(int argc, char** argv) { return latentd::bench::Run(argc, argv); }
