// A peer's call on what a DecodeCase of ours works on.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/gpu/decode_case.h"
#include "bench/gpu/peers/peer.h"

namespace latentd::bench {

class PeerRun {
 public:
  // Borrows the pool and our case, of one shape without key norm and with rows of 512 and 64.
  // Throws what MakePeer throws.
  PeerRun(const DecodeShape& shape, const cuda::DeviceBuffer& pool, const DecodeCase& ours);

  // Enqueues the peer's kernels.
  void Launch() { peer_->Launch(); }
  // After a wait: [QueryRows][row_latent].
  std::vector<float> Output() const;

  // Bytes of device memory beside the pool: outputs, and what a library keeps for itself.
  static int64_t Bytes(const DecodeShape& shape);

 private:
  cuda::DeviceBuffer out_;
  std::vector<int> tables_;
  std::unique_ptr<Peer> peer_;
};

}  // namespace latentd::bench
