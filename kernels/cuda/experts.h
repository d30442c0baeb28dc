// A mixture of experts without a round trip to the host, from the router's choices to the sum of
// the results: GroupByExpert, ExpertMlps, SumExperts. A choice is one expert of one token,
// numbered t·k + j. Grids are sized by the number of choices; a block that finds nothing to do
// returns, and weights that no token chose are not read.
//
// Experts below num_weighted have weights. Those from there on are identities: their result is the
// token's own row.
//
// All: data pointers, those in structs and device tables too, are device memory, borrowed until the
// stream has run the kernels; shapes are read at the call. Buffers may be larger than a step needs.
// Any thread, one at a time per stream. A broken precondition or a failed launch aborts with file
// and line. A token's result has the same bits alone and in any batch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/tensor.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Grouped rows of one expert that a block multiplies together: 32 at most.
constexpr int64_t kExpertTileRows = 32;
struct ExpertTile {
  int32_t expert;
  int32_t first_row;  // grouped row
  int32_t num_rows;   // 0: no tile
};
// No choices fall into more tiles than this.
constexpr int64_t MaxExpertTiles(int64_t num_choices, int64_t num_weighted) {
  const int64_t num_experts = std::min(num_choices, num_weighted);
  return (num_choices + num_experts * (kExpertTileRows - 1)) / kExpertTileRows;
}

// Choices that are counted together.
constexpr int64_t kChoiceChunk = 512;
constexpr int64_t NumChoiceChunks(int64_t num_choices) {
  return (num_choices + kChoiceChunk - 1) / kChoiceChunk;
}

// The choices of a step by expert, ascending, and for one expert by their numbers: grouped rows.
struct ExpertGroups {
  int32_t* offsets = nullptr;  // [E + 1]: expert e has grouped rows offsets[e] … offsets[e + 1] − 1
  int32_t* choices = nullptr;   // [T·k]: the choice of each grouped row
  int32_t* places = nullptr;    // [T·k]: the grouped row of each choice
  ExpertTile* tiles = nullptr;  // [MaxExpertTiles(T·k, num_weighted)], of experts with weights
  int32_t* counts = nullptr;    // [NumChoiceChunks(T·k)][E]: scratch
};

// Writes all of `groups`. Three kernels. An id in `experts` that is not below num_experts traps,
// which fails the stream.
struct GroupByExpertArgs {
  MatrixView<const int32_t> experts;  // [T, k]
  int64_t num_experts = 0;            // E: 1 … kMaxExperts (operators.h)
  int64_t num_weighted = 0;           // 0 … E
  ExpertGroups groups;
};
void GroupByExpert(CUstream_st* stream, const GroupByExpertArgs& args);

// One matrix of each expert, all of the same shape. If dtype is in blocks (IsBlocked), all have it;
// if it is not, each may have another that is not.
struct ExpertMatrices {
  const WeightView* views = nullptr;  // device table, [num_weighted]
  int64_t rows = 0;                   // of each
  int64_t cols = 0;
  DType dtype = DType::kBF16;
};

// results[p] = down_e · (SiLU(gate_e · x[t]) ⊙ up_e · x[t]) for grouped row p of token t and
// expert e < num_weighted; others are left undefined. Each product has the order, roundings and
// bits of Linear without matrix units (operators.h) on the row alone, and SiLU those of SiluMul.
// Four kernels.
struct ExpertMlpArgs {
  MatrixView<const float> x;  // [T, d]
  int64_t top_k = 0;
  int64_t num_weighted = 0;
  ExpertMatrices gate, up;                   // [units, d]
  ExpertMatrices down;                       // [d, units]
  ExpertGroups groups;                       // of GroupByExpert
  MatrixView<float> hidden_gate, hidden_up;  // [T·k, units]: scratch
  MatrixView<float> results;                 // [T·k, d], overwritten; overlaps nothing
};
void ExpertMlps(CUstream_st* stream, const ExpertMlpArgs& args);

// out[t] = Σ_j weights[t, j] · result of choice (t, j), in fp32 from zero, ascending j: with ids
// that ascend in a row, as the router's do, the bits of the CPU's sum. One kernel.
struct SumExpertsArgs {
  MatrixView<const float> x;          // [T, d]: what identity experts result in
  MatrixView<const int32_t> experts;  // [T, k]
  MatrixView<const float> weights;    // [T, k]
  int64_t num_weighted = 0;
  const int32_t* places = nullptr;  // ExpertGroups'
  MatrixView<const float> results;  // [T·k, d], of ExpertMlps
  MatrixView<float> out;            // [T, d], overwritten; overlaps nothing
};
void SumExperts(CUstream_st* stream, const SumExpertsArgs& args);

}  // namespace latentd::cuda
