#include "tests/bench/gpu/played_peer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "bench/gpu/peers/peer.h"
#include "bench/gpu/peers/reference.h"

namespace latentd::bench {
namespace {

Fault played = Fault::kNone;

class PlayedPeer : public Peer {
 public:
  PlayedPeer(const PeerCase& one, Fault fault) : case_(one), fault_(fault) {
    shape_ = {.batch = one.batch,
              .context = one.context,
              .query_tokens = one.query_tokens,
              .num_heads = one.num_heads};
    const int count = one.batch * one.blocks_of_sequence;
    for (int i = 0; i < count; ++i) {
      tables_.push_back(static_cast<uint32_t>(one.block_tables[i] * BlockGranules(shape_)));
    }
    for (int i = 0; fault == Fault::kReadsFirstBlockAgain && i < count; ++i) {
      const int first = i - i % one.blocks_of_sequence;
      tables_[static_cast<size_t>(i)] = tables_[static_cast<size_t>(first)];
    }
    if (fault == Fault::kReadsOtherBlocks) std::reverse(tables_.begin(), tables_.end());
    if (fault == Fault::kScalesByLatentWidth) case_.softmax_scale = 1 / std::sqrt(512.0f);
  }

  void Launch() override {
    if (fault_ == Fault::kWritesNothing) return;
    std::vector<double> out = Attend(shape_);
    if (fault_ == Fault::kMissesLastToken) {
      DecodeShape shorter = shape_;
      shorter.context -= 1;
      out = Attend(shorter);
    }
    if (fault_ == Fault::kSeesLaterTokens) SeeAll(out);
    auto* to = static_cast<bf16*>(case_.out);
    for (size_t i = 0; i < out.size(); ++i) to[i] = ToBf16(static_cast<float>(out[i]));
  }

 private:
  std::vector<double> Attend(const DecodeShape& shape) const {
    const auto queries = static_cast<size_t>(shape.QueryRows() * shape.RowWidth());
    const auto bytes = static_cast<size_t>(PoolBytes(shape));
    return ReferenceDecode(shape, {static_cast<const bf16*>(case_.q), queries},
                           {static_cast<const std::byte*>(case_.pool), bytes}, tables_,
                           case_.softmax_scale);
  }

  // Every query token as if it were the last: as heads of one token.
  void SeeAll(std::vector<double>& out) const {
    DecodeShape flat = shape_;
    flat.num_heads *= flat.query_tokens;
    flat.query_tokens = 1;
    out = Attend(flat);
  }

  PeerCase case_;
  Fault fault_;
  DecodeShape shape_;
  std::vector<uint32_t> tables_;
};

}  // namespace

void PlayFault(Fault fault) { played = fault; }

const char* PeerName() { return "played"; }

std::unique_ptr<Peer> MakePeer(const PeerCase& peer_case) {
  if (played == Fault::kRefuses) throw std::invalid_argument("no such shape");
  return std::make_unique<PlayedPeer>(peer_case, played);
}

}  // namespace latentd::bench
