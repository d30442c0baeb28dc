// What a sweep over widths found, as text, CSV and picture.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace latentd {

struct ScoreGrid {
  std::string model, text;         // the model's id and the file's name, for captions
  std::vector<uint32_t> q, kv;     // ranks, ascending, not empty; q is {0} where queries have none
  std::vector<double> logprobs;    // [q × kv], row-major: of the whole text, natural log
  int64_t scored = 0;              // tokens, the same at every width
  int64_t window = 0, stride = 0;  // tokens
  std::string windows;             // DescribeWindows

  // Nats a scored token, and exp of that.
  double Loss(size_t q_idx, size_t kv_idx) const;
  double Perplexity(size_t q_idx, size_t kv_idx) const;
};

// Perplexity as a table with a row for each q and a column for each kv, then what was scored.
std::string GridTable(const ScoreGrid& grid);

// A header and a line for each pair, q first; numbers in full precision.
std::string GridCsv(const ScoreGrid& grid);

// A heat map of perplexity, or, where one of the axes has a single rank, a line plot of loss over
// the other.
std::string GridSvg(const ScoreGrid& grid);

}  // namespace latentd
