// The axes along which a token's bits must not change (latent-attention.md section 5), as data.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace latentd {

enum class AxisId : uint8_t {
  kBatch,
  kChunk,
  kThreads,
  kPressure,
  kReuse,
  kBudget,
  kContext,
  kWidths,
  kPath
};
constexpr size_t kNumAxes = 9;

constexpr int64_t kWholePrompt = 4096;  // as a chunk: no prompt is longer

enum Pressure : int64_t {
  kRoomy,      // blocks for everyone
  kQueueing,   // for a third: requests wait, cached prefixes are evicted
  kPreempting  // requests grow into each other's blocks
};

struct Axis {
  const char* name;
  std::vector<int64_t> values;   // each is met once
  std::vector<int64_t> reduced;  // all pairs of these are met
  int64_t usual;                 // the others' value meanwhile
};
// By AxisId. Values of kPath are CpuPath of this machine.
const std::array<Axis, kNumAxes>& Axes();

// One way of running the requests.
struct Setting {
  std::array<int64_t, kNumAxes> values;
  int64_t at(AxisId axis) const { return values[static_cast<size_t>(axis)]; }
  friend bool operator==(const Setting&, const Setting&) = default;
};
std::string Describe(const Setting& setting);

Setting UsualSetting();
std::vector<Setting> EveryValueOnce();
std::vector<Setting> AllPairs();  // of the reduced values
Setting RandomSetting(std::mt19937_64& random);
// The product of all values of batch, chunk, threads (1, 2), pressure and mixed widths; prefix
// reuse every other time, the rest as usual.
uint64_t ProductSize();
Setting ProductSetting(uint64_t index);

}  // namespace latentd
