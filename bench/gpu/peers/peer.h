// The decode attention of another library, over the memory that ours reads. Its file is compiled
// with that library's headers and flags, so that nothing of ours but this header meets them.
#pragma once

#include <memory>

namespace latentd::bench {

// Latent rows of 512 values and a rotary key of 64, blocks of 64 tokens, one KV head. Pointers are
// device memory but for block_tables, borrowed while the peer lives.
struct PeerCase {
  int batch = 0;
  int context = 0;       // tokens of each sequence, its query tokens among them
  int query_tokens = 0;  // the last ones, each of which sees itself and what stands before it
  int num_heads = 0;
  float softmax_scale = 0;     // multiplies scores before softmax
  const void* q = nullptr;     // [batch][query_tokens][num_heads][576] bf16, rotary part last
  int num_blocks = 0;          // of the pool
  const void* pool = nullptr;  // [num_blocks][64][576] bf16, rotary key last
  int blocks_of_sequence = 0;  // ⌈context / 64⌉
  const int* block_tables = nullptr;  // host: [batch][blocks_of_sequence], numbers of blocks
  void* out = nullptr;                // [batch][query_tokens][num_heads][512] bf16, overwritten
};

// One planned case; the plan is made once and stays. One thread.
class Peer {
 public:
  virtual ~Peer() = default;
  // Enqueues on the default stream all kernels of one call, those that add up parts among them.
  virtual void Launch() = 0;
};

// Library, version and kernel, for reports.
const char* PeerName();

// Plans as the library's own wrapper does, and waits for it. Throws std::exception whose what()
// says why the library refuses the case.
std::unique_ptr<Peer> MakePeer(const PeerCase& peer_case);

}  // namespace latentd::bench
