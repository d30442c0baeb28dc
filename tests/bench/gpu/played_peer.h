// A peer that computes the plain attention on the emulated device, rightly or with a fault.
#pragma once

namespace latentd::bench {

enum class Fault {
  kNone,
  kMissesLastToken,
  kSeesLaterTokens,  // of the query tokens
  kReadsOtherBlocks,
  kReadsFirstBlockAgain,  // in place of each later one
  kScalesByLatentWidth,   // 1/√512 instead of 1/√576
  kWritesNothing,
  kRefuses,
};

// Of the peers made from now on.
void PlayFault(Fault fault);

}  // namespace latentd::bench
