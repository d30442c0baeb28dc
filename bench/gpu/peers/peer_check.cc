#include "bench/gpu/peers/peer_check.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "bench/gpu/decode_case.h"
#include "bench/gpu/peers/agreement.h"
#include "bench/gpu/peers/peer_run.h"
#include "bench/gpu/peers/reference.h"
#include "kernels/cuda/measure/traffic.h"

namespace latentd::bench {
namespace {

constexpr uint32_t kPoolSeed = 6;

void ExpectNear(const char* whose, const DecodeShape& shape, const Worst& worst) {
  if (worst.difference <= kMostDifference) return;
  char text[200];
  std::snprintf(text, sizeof text,
                "%s attention is wrong, context %lld: row %lld, lane %lld is %g, expected %g",
                whose, static_cast<long long>(shape.context), static_cast<long long>(worst.row),
                static_cast<long long>(worst.lane), worst.got, worst.expected);
  throw WrongResult(text);
}

}  // namespace

double CheckSmall(const DecodeShape& shape, int num_processors) {
  const cuda::DeviceBuffer pool(static_cast<size_t>(PoolBytes(shape)));
  cuda::FillRandom(nullptr, pool.data(), static_cast<int64_t>(pool.bytes()), kPoolSeed);
  DecodeCase ours(shape, pool, num_processors);
  PeerRun theirs(shape, pool, ours);
  ours.Launch();
  theirs.Launch();
  std::vector<std::byte> host_pool(pool.bytes());
  pool.Download(host_pool.data());
  const std::vector<double> expected =
      ReferenceDecode(shape, ours.Queries(), host_pool, ours.tables(), ours.softmax_scale());
  ExpectNear("our", shape, WorstOf(ours.Output(), expected, shape.row_latent));
  const Worst worst = WorstOf(theirs.Output(), expected, shape.row_latent);
  ExpectNear("the peer's", shape, worst);
  return worst.difference;
}

double CheckSmallOf(DecodeShape shape, int num_processors) {
  double largest = 0;
  shape.batch = 3;
  for (const int64_t context : {30, 65, 300}) {
    shape.context = context;
    largest = std::max(largest, CheckSmall(shape, num_processors));
  }
  return largest;
}

double CheckBesideOurs(std::span<const float> theirs, std::span<const float> ours, int64_t lanes) {
  const double apart = FarthestRow(theirs, ours, lanes);
  if (apart <= kMostDistance) return apart;
  throw WrongResult("the peer's attention is wrong: a row is " + std::to_string(apart) +
                    " of its norm from ours");
}

}  // namespace latentd::bench
