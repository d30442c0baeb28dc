// The metrics of a build without doors (LATENTD_SERVER=OFF): nobody can read them, so nothing is
// counted.
#include "server/metrics.h"

namespace latentd {
namespace {

class Uncounted : public Metrics {
 public:
  void RequestDone(const RequestRecord&) override {}
  void Refused(Refusal) override {}
  void Tokens(uint64_t, uint64_t) override {}
  void TimeToFirstToken(double) override {}
  void InterTokenLatency(double) override {}
  void Step(const StepReport&) override {}
  std::string Exposition() override { return ""; }
};

}  // namespace

std::unique_ptr<Metrics> Metrics::Create(std::string, std::string, std::function<EngineStats()>) {
  return std::make_unique<Uncounted>();
}

}  // namespace latentd
