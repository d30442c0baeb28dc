// How memory that is read end to end at every step is asked for: huge pages, spread over the nodes
// of the machine.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace latentd {

constexpr size_t kHugePage = size_t{2} << 20;

// To be called before the memory is touched, on whole pages that begin on one. Advice: where the
// system takes none of it, pages are small and lie on the node of the thread that first touches
// them. Memory below a huge page is left alone.
void AdviseLargeMemory(void* data, size_t bytes);

// What it is made of. A list of nodes, ascending, from the system's notation ("0", "0-1,4\n");
// empty when the text is none.
std::vector<int> ParseNodeList(std::string_view text);
// The nodes that `file` lists; empty when it cannot be read.
std::vector<int> OnlineNodes(const std::string& file = "/sys/devices/system/node/online");
// Pages that are touched from now on come from the nodes in turn; those of `nodes` that this
// process may not use are left out. False when the system refuses. REQUIRES: nodes not empty,
// ascending.
bool InterleaveOver(const std::vector<int>& nodes, void* data, size_t bytes);

}  // namespace latentd
