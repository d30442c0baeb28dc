#include "kernels/core/large_memory.h"

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <climits>
#include <fstream>

namespace latentd {
namespace {

constexpr int kMaxNodes = 1024;  // the most that Linux can be built for
constexpr size_t kWordBits = sizeof(unsigned long) * CHAR_BIT;

// Takes a node's number off the front; -1 when there is none.
int TakeNode(std::string_view* text) {
  int node = -1;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), node);
  if (error != std::errc() || node < 0 || node >= kMaxNodes) return -1;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return node;
}

bool TakeSign(std::string_view* text, char sign) {
  if (!text->starts_with(sign)) return false;
  text->remove_prefix(1);
  return true;
}

}  // namespace

std::vector<int> ParseNodeList(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<int> nodes;
  do {
    const int first = TakeNode(&text);
    const int last = TakeSign(&text, '-') ? TakeNode(&text) : first;
    if (first < 0 || last < first || (!nodes.empty() && first <= nodes.back())) return {};
    for (int node = first; node <= last; ++node) nodes.push_back(node);
  } while (TakeSign(&text, ','));
  return text.empty() ? nodes : std::vector<int>();
}

std::vector<int> OnlineNodes(const std::string& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return ParseNodeList(line);
}

bool InterleaveOver(const std::vector<int>& nodes, void* data, size_t bytes) {
  std::vector<unsigned long> mask(static_cast<size_t>(nodes.back()) / kWordBits + 1);
  for (const int node : nodes) {
    mask[static_cast<size_t>(node) / kWordBits] |= 1UL << (static_cast<size_t>(node) % kWordBits);
  }
  // The kernel counts one bit fewer than it is told.
  return syscall(SYS_mbind, data, bytes, MPOL_INTERLEAVE, mask.data(), mask.size() * kWordBits + 1,
                 0) == 0;
}

void AdviseLargeMemory(void* data, size_t bytes) {
  if (bytes < kHugePage) return;
  madvise(data, bytes, MADV_HUGEPAGE);
  static const std::vector<int> nodes = OnlineNodes();
  if (nodes.size() > 1) InterleaveOver(nodes, data, bytes);
}

}  // namespace latentd
