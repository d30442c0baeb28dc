// An oracle for constraints that shares nothing with them: a textbook NFA over bytes.
#pragma once

#include <bitset>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace latentd::testing {

// Thompson's construction for regexes of literals, escapes, [sets], (groups), |, *, + and ?. Every
// state leads to the final one, so a text is a prefix of the language exactly as long as some state
// is alive. REQUIRES: `regex` is well formed.
class Nfa {
 public:
  using States = std::set<int>;

  explicit Nfa(std::string_view regex) : rest_(regex) { std::tie(start_, final_) = Alternatives(); }

  States Start() const { return Close({start_}); }

  States Advance(const States& from, std::string_view bytes) const {
    States states = from;
    for (const char byte : bytes) {
      States next;
      for (const int state : states) {
        const Edge& edge = edges_[state];
        if (edge.to >= 0 && edge.bytes[static_cast<uint8_t>(byte)]) next.insert(edge.to);
      }
      states = Close(std::move(next));
    }
    return states;
  }

  bool Accepts(const States& states) const { return states.count(final_) > 0; }

 private:
  using Fragment = std::pair<int, int>;  // first and last state
  struct Edge {
    std::bitset<256> bytes = {};
    int to = -1;
    std::vector<int> empty = {};  // reached without a byte
  };

  int NewState() {
    edges_.emplace_back();
    return static_cast<int>(edges_.size()) - 1;
  }

  void Link(int from, int to) { edges_[from].empty.push_back(to); }

  bool Take(char c) {
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  uint8_t Next() {
    const char c = rest_[0];
    rest_.remove_prefix(1);
    return static_cast<uint8_t>(c);
  }

  Fragment Alternatives() {
    const Fragment all = {NewState(), NewState()};
    do {
      const Fragment one = Sequence();
      Link(all.first, one.first);
      Link(one.second, all.second);
    } while (Take('|'));
    return all;
  }

  Fragment Sequence() {
    Fragment all = {NewState(), 0};
    all.second = all.first;
    while (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')') {
      const Fragment one = Repeated();
      Link(all.second, one.first);
      all.second = one.second;
    }
    return all;
  }

  Fragment Repeated() {
    const Fragment one = Atom();
    const bool star = Take('*'), plus = !star && Take('+'), option = !star && !plus && Take('?');
    if (!star && !plus && !option) return one;
    const Fragment all = {NewState(), NewState()};
    Link(all.first, one.first);
    Link(one.second, all.second);
    if (star || plus) Link(one.second, one.first);
    if (star || option) Link(all.first, all.second);
    return all;
  }

  Fragment Atom() {
    if (Take('(')) {
      const Fragment group = Alternatives();
      Take(')');
      return group;
    }
    std::bitset<256> bytes;
    if (Take('[')) {
      while (!Take(']')) {
        const uint8_t low = Next();
        const uint8_t high = Take('-') ? Next() : low;
        for (int byte = low; byte <= high; ++byte) bytes.set(byte);
      }
    } else {
      Take('\\');
      bytes.set(Next());
    }
    const Fragment one = {NewState(), NewState()};
    edges_[one.first].bytes = bytes;
    edges_[one.first].to = one.second;
    return one;
  }

  States Close(States states) const {
    std::vector<int> open(states.begin(), states.end());
    while (!open.empty()) {
      const int state = open.back();
      open.pop_back();
      for (const int next : edges_[state].empty) {
        if (states.insert(next).second) open.push_back(next);
      }
    }
    return states;
  }

  std::string_view rest_;
  std::vector<Edge> edges_;
  int start_ = 0, final_ = 0;
};

}  // namespace latentd::testing
