// A model folder with one thing wrong: one sentence that names what holds.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "engine/model/loader.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {

// What loading says, after the checks that hold for every fault; "accepted" without one.
inline std::string FaultOf(const TempFolder& folder) {
  const auto model = LoadModel(folder.path());
  if (model.ok()) return "accepted";
  const std::string fault(model.status().message());
  CHECK(fault.rfind(folder.path() + "/", 0) == 0);
  CHECK(fault.find('\n') == std::string::npos);
  return fault;
}

inline std::string FaultOf(const TestModel& model) {
  const TempFolder folder;
  model.Write(folder);
  return FaultOf(folder);
}

struct Case {
  const char* name;
  std::function<void(TestModel&)> damage;
  std::vector<std::string> wanted;  // parts of what is said
};

inline void CheckAll(const TestModel& good, const std::vector<Case>& cases) {
  REQUIRE(FaultOf(good) == "accepted");
  for (const Case& test : cases) {
    TestModel model = good;
    test.damage(model);
    const std::string fault = FaultOf(model);
    INFO(test.name << " gives: " << fault);
    for (const std::string& wanted : test.wanted) CHECK_THAT(fault, Catch::Contains(wanted));
  }
}

}  // namespace latentd
