// Whether a peer that is called as PeerRun calls it computes our attention, so that no wrong call
// counts as a fast one.
#pragma once

#include <span>
#include <stdexcept>

#include "bench/gpu/decode_shape.h"

namespace latentd::bench {

// A result that is not what it should be; what() says which.
struct WrongResult : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Runs ours and the peer over random latents of the shape, all of whose outputs the reference
// computes on the host, so few tokens. Returns the peer's largest difference from it; throws
// WrongResult when either differs by more than kMostDifference, and what MakePeer throws.
double CheckSmall(const DecodeShape& shape, int num_processors);

// The same for heads and query tokens of a shape, in contexts below a block, one token beyond a
// block, and long enough to be split: the largest difference.
double CheckSmallOf(DecodeShape shape, int num_processors);

// What the peer computed of a large case beside what ours did, rows of `lanes`. Returns the
// farthest row's distance; throws WrongResult when that is more than kMostDistance.
double CheckBesideOurs(std::span<const float> theirs, std::span<const float> ours, int64_t lanes);

}  // namespace latentd::bench
