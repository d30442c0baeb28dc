#include "server/cli/score_grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "server/plot/heat_map.h"
#include "server/plot/line_plot.h"

namespace latentd {
namespace {

constexpr std::string_view kQueryRank = "query latent rank", kKvRank = "KV latent rank";

std::string Note(const ScoreGrid& grid) {
  return fmt::format("{} on {}: {} tokens scored, window {}, stride {}", grid.model, grid.text,
                     grid.scored, grid.window, grid.stride);
}

std::string HeatMapOf(const ScoreGrid& grid) {
  HeatMap map;
  map.columns = grid.kv;
  map.rows = grid.q;
  for (size_t i = 0; i < grid.q.size(); ++i) {
    for (size_t j = 0; j < grid.kv.size(); ++j) map.values.push_back(grid.Perplexity(i, j));
  }
  map.column_title = kKvRank;
  map.row_title = kQueryRank;
  map.value_title = "perplexity";
  map.title = "Perplexity by rank";
  map.note = Note(grid);
  return DrawHeatMap(map);
}

std::string LinePlotOf(const ScoreGrid& grid) {
  const bool over_kv = grid.q.size() == 1;
  const std::vector<uint32_t>& ranks = over_kv ? grid.kv : grid.q;
  LinePlot plot;
  for (size_t i = 0; i < ranks.size(); ++i) {
    plot.points.push_back(
        {static_cast<double>(ranks[i]), over_kv ? grid.Loss(0, i) : grid.Loss(i, 0)});
  }
  const uint32_t fixed = over_kv ? grid.q[0] : grid.kv[0];
  plot.x_title = over_kv ? kKvRank : kQueryRank;
  if (fixed != 0) {
    plot.x_title += fmt::format(" ({} {})", over_kv ? kQueryRank : kKvRank, fixed);
  }
  plot.y_title = "loss (nats per token)";
  plot.right = [](double loss) { return std::exp(loss); };
  plot.right_title = "perplexity";
  plot.title = "Loss by rank";
  plot.note = Note(grid);
  return DrawLinePlot(plot);
}

}  // namespace

double ScoreGrid::Loss(size_t q_idx, size_t kv_idx) const {
  return -logprobs[q_idx * kv.size() + kv_idx] / static_cast<double>(scored);
}

double ScoreGrid::Perplexity(size_t q_idx, size_t kv_idx) const {
  return std::exp(Loss(q_idx, kv_idx));
}

std::string GridTable(const ScoreGrid& grid) {
  std::vector<std::string> cells;
  size_t width = 0;
  for (const uint32_t rank : grid.kv) width = std::max(width, fmt::format("{}", rank).size());
  for (size_t i = 0; i < grid.q.size(); ++i) {
    for (size_t j = 0; j < grid.kv.size(); ++j) {
      cells.push_back(fmt::format("{:.4f}", grid.Perplexity(i, j)));
      width = std::max(width, cells.back().size());
    }
  }
  std::string out = fmt::format("perplexity of {}, rows w_q, columns w_kv\n{:>8}", grid.text, "");
  for (const uint32_t rank : grid.kv) out += fmt::format("  {:>{}}", rank, width);
  for (size_t i = 0; i < grid.q.size(); ++i) {
    out += grid.q[i] == 0 ? fmt::format("\n{:>8}", "-") : fmt::format("\n{:>8}", grid.q[i]);
    for (size_t j = 0; j < grid.kv.size(); ++j) {
      out += fmt::format("  {:>{}}", cells[i * grid.kv.size() + j], width);
    }
  }
  return out + fmt::format("\n{}\n", grid.windows);
}

std::string GridCsv(const ScoreGrid& grid) {
  std::string out = "q,kv,nats_per_token,perplexity,log_likelihood,tokens_scored,window,stride\n";
  for (size_t i = 0; i < grid.q.size(); ++i) {
    for (size_t j = 0; j < grid.kv.size(); ++j) {
      out += fmt::format(
          "{},{},{},{},{},{},{},{}\n", grid.q[i] == 0 ? "" : fmt::format("{}", grid.q[i]),
          grid.kv[j], grid.Loss(i, j), grid.Perplexity(i, j), grid.logprobs[i * grid.kv.size() + j],
          grid.scored, grid.window, grid.stride);
    }
  }
  return out;
}

std::string GridSvg(const ScoreGrid& grid) {
  return grid.q.size() == 1 || grid.kv.size() == 1 ? LinePlotOf(grid) : HeatMapOf(grid);
}

}  // namespace latentd
