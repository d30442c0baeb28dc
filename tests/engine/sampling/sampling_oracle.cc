#include "tests/engine/sampling/sampling_oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace latentd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kClose = 1e-6;

bool Has(const std::vector<uint32_t>& list, uint32_t token) {
  return std::find(list.begin(), list.end(), token) != list.end();
}

std::vector<double> Adjusted(const OracleInput& in) {
  std::vector<double> x(in.logits.begin(), in.logits.end());
  for (const auto& [token, bias] : in.params.logit_bias) x[token] += static_cast<double>(bias);
  for (uint32_t t = 0; t < x.size(); ++t) {
    if (Has(in.prompt, t) || Has(in.output, t)) {
      const double penalty = static_cast<double>(in.params.repetition_penalty);
      x[t] = x[t] > 0 ? x[t] / penalty : x[t] * penalty;
    }
    const auto uses = std::count(in.output.begin(), in.output.end(), t);
    if (uses > 0) {
      x[t] -= static_cast<double>(in.params.presence_penalty);
      x[t] -= static_cast<double>(in.params.frequency_penalty) * static_cast<double>(uses);
    }
    if (in.output.size() < in.min_tokens && Has(in.ending, t)) x[t] = -kInfinity;
  }
  return x;
}

struct Candidate {
  uint32_t token;
  double logit, p;
};

// resize() that only ever shrinks.
void Keep(size_t count, std::vector<Candidate>* list) {
  if (count < list->size())
    list->erase(list->begin() + static_cast<std::ptrdiff_t>(count), list->end());
}

double Sum(const std::vector<Candidate>& list) {
  double sum = 0;
  for (const Candidate& c : list) sum += c.p;
  return sum;
}

void KeepTopP(double top_p, std::vector<Candidate>* list, bool* close_call) {
  const double wanted = top_p * Sum(*list);
  double sum = 0;
  size_t n = 0;
  while (n < list->size()) {
    sum += (*list)[n++].p;
    *close_call |= std::abs(sum - wanted) < kClose * wanted;
    if (sum >= wanted) break;
  }
  Keep(n, list);
}

void KeepMinP(double min_p, std::vector<Candidate>* list, bool* close_call) {
  const double bound = min_p * list->front().p;
  for (const Candidate& c : *list)
    *close_call |= min_p < 1 && std::abs(c.p - bound) < kClose * bound;
  std::erase_if(*list, [bound](const Candidate& c) { return c.p < bound; });
}

}  // namespace

OracleResult SampleOracle(const OracleInput& in) {
  const std::vector<double> x = Adjusted(in);
  std::vector<Candidate> list;
  for (uint32_t t = 0; t < x.size(); ++t) {
    if (x[t] > -kInfinity) list.push_back({t, x[t], 0});
  }
  OracleResult result;
  if (list.empty()) return result;
  std::stable_sort(list.begin(), list.end(),
                   [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
  if (in.params.temperature == 0) Keep(1, &list);
  const double max = list.front().logit;
  const auto temperature = static_cast<double>(in.params.temperature);
  for (Candidate& c : list) c.p = c.logit == max ? 1 : std::exp((c.logit - max) / temperature);
  const auto top_k = static_cast<size_t>(in.params.top_k);
  if (top_k > 0) Keep(top_k, &list);
  if (in.params.top_p < 1)
    KeepTopP(static_cast<double>(in.params.top_p), &list, &result.close_call);
  if (in.params.min_p > 0)
    KeepMinP(static_cast<double>(in.params.min_p), &list, &result.close_call);
  const double mass = Sum(list);
  double low = 0;
  for (const Candidate& c : list) {
    result.kept.push_back({c.token, low, low + c.p / mass});
    low = result.kept.back().high;
  }
  return result;
}

}  // namespace latentd
