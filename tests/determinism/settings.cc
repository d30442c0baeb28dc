#include "tests/determinism/settings.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/core/context.h"

namespace latentd {
namespace {

std::vector<int64_t> Range(int64_t first, int64_t last) {
  std::vector<int64_t> values(static_cast<size_t>(last - first + 1));
  std::iota(values.begin(), values.end(), first);
  return values;
}

std::vector<int64_t> Paths() {
  std::vector<int64_t> paths;
  for (CpuPath path :
       {CpuPath::kScalar, CpuPath::kAvx2, CpuPath::kAvx512, CpuPath::kAvx512Bf16, CpuPath::kAmx}) {
    if (Supported(path)) paths.push_back(static_cast<int64_t>(path));
  }
  return paths;
}

}  // namespace

const std::array<Axis, kNumAxes>& Axes() {
  const auto best = static_cast<int64_t>(BestCpuPath());
  static const std::array<Axis, kNumAxes> axes = {{
      {"batch", Range(1, 64), {1, 2, 7, 32, 64}, 7},
      {"chunk", Range(1, 200), {1, 63, 64, 65, 200}, kWholePrompt},
      {"threads", {1, 2, 3}, {1, 2}, 1},
      {"pressure", {kRoomy, kQueueing, kPreempting}, {kRoomy, kQueueing, kPreempting}, kRoomy},
      {"prefix reuse", {0, 1}, {0, 1}, 0},
      {"tokens of a step", {65, 70, 97, 128, 512, 4096}, {97, 4096}, 4096},
      {"longest prompt", {201, 513, 2049, 2300}, {201}, 201},
      {"mixed widths", {0, 1}, {0, 1}, 0},
      {"cpu path", Paths(), {best}, best},
  }};
  return axes;
}

std::string Describe(const Setting& setting) {
  std::string text;
  for (size_t i = 0; i < kNumAxes; ++i) {
    if (i > 0) text += ", ";
    text += Axes()[i].name;
    text += ' ';
    if (i == static_cast<size_t>(AxisId::kPath)) {
      text += Name(static_cast<CpuPath>(setting.values[i]));
    } else {
      text += std::to_string(setting.values[i]);
    }
  }
  return text;
}

Setting UsualSetting() {
  Setting setting{};
  for (size_t i = 0; i < kNumAxes; ++i) setting.values[i] = Axes()[i].usual;
  return setting;
}

std::vector<Setting> EveryValueOnce() {
  std::vector<Setting> settings;
  for (size_t i = 0; i < kNumAxes; ++i) {
    for (int64_t value : Axes()[i].values) {
      settings.push_back(UsualSetting());
      settings.back().values[i] = value;
    }
  }
  return settings;
}

std::vector<Setting> AllPairs() {
  std::vector<Setting> settings;
  for (size_t i = 0; i < kNumAxes; ++i) {
    for (size_t j = i + 1; j < kNumAxes; ++j) {
      for (int64_t a : Axes()[i].reduced) {
        for (int64_t b : Axes()[j].reduced) {
          Setting setting = UsualSetting();
          setting.values[i] = a;
          setting.values[j] = b;
          if (std::find(settings.begin(), settings.end(), setting) == settings.end()) {
            settings.push_back(setting);
          }
        }
      }
    }
  }
  return settings;
}

namespace {

// In the product: the axes of the promise that the engine sees. Three threads on the pairs only.
std::vector<std::pair<AxisId, const std::vector<int64_t>*>> ProductAxes() {
  const auto axis = [](AxisId id) -> const Axis& { return Axes()[static_cast<size_t>(id)]; };
  return {{AxisId::kBatch, &axis(AxisId::kBatch).values},
          {AxisId::kChunk, &axis(AxisId::kChunk).values},
          {AxisId::kThreads, &axis(AxisId::kThreads).reduced},
          {AxisId::kPressure, &axis(AxisId::kPressure).values},
          {AxisId::kWidths, &axis(AxisId::kWidths).values}};
}

}  // namespace

uint64_t ProductSize() {
  uint64_t size = 1;
  for (const auto& [id, values] : ProductAxes()) size *= values->size();
  return size;
}

Setting ProductSetting(uint64_t index) {
  Setting setting = UsualSetting();
  for (const auto& [id, values] : ProductAxes()) {
    setting.values[static_cast<size_t>(id)] = (*values)[index % values->size()];
    index /= values->size();
  }
  // Both meet every value of every other axis.
  setting.values[static_cast<size_t>(AxisId::kReuse)] =
      (setting.at(AxisId::kBatch) + setting.at(AxisId::kChunk)) % 2;
  return setting;
}

Setting RandomSetting(std::mt19937_64& random) {
  Setting setting{};
  for (size_t i = 0; i < kNumAxes; ++i) {
    const std::vector<int64_t>& values = Axes()[i].values;
    setting.values[i] = values[random() % values.size()];
  }
  return setting;
}

}  // namespace latentd
