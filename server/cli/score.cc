// `latentd score`: one width, or a sweep over a grid of widths.
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "absl/strings/escaping.h"
#include "server/cli/commands.h"
#include "server/cli/grid_widths.h"
#include "server/cli/output_file.h"
#include "server/cli/progress.h"
#include "server/cli/score_grid.h"
#include "server/cli/score_windows.h"
#include "server/cli/standard_output.h"

namespace latentd {
namespace {

using Widths = std::vector<std::optional<v1::Width>>;

absl::StatusOr<std::vector<TextScore>> ScoreWithProgress(Service& service, const ScoredText& text,
                                                         const Widths& widths,
                                                         bool logits_hash = false) {
  LoadProgressBar bar("scoring", STDERR_FILENO);
  return ScoreAtWidths(service, text, widths, logits_hash,
                       [&](uint64_t done, uint64_t total) { bar.Show(done, total); });
}

absl::Status RunOne(Service& service, int64_t max_context, std::optional<uint32_t> bos,
                    const ScoreCommand& command) {
  const Widths widths = {command.width};
  const auto text = PrepareText(service, command.file, max_context, bos, command.stride);
  if (!text.ok()) return text.status();
  const auto scores = ScoreWithProgress(service, *text, widths, command.hash);
  if (!scores.ok()) return scores.status();
  const TextScore& score = scores->front();
  const std::string hash =
      command.hash ? "logits hash " + absl::BytesToHexString(score.hash) + "\n" : "";
  return WriteToStdout(fmt::format("log-likelihood {:.6f}\nperplexity {:.6f}\n{}\n{}",
                                   score.logprob,
                                   std::exp(-score.logprob / static_cast<double>(score.scored)),
                                   DescribeWindows(*text, score.scored), hash));
}

// Everything that can be refused is, before the long work begins.
absl::Status RunGrid(Service& service, int64_t max_context, std::optional<uint32_t> bos,
                     const ScoreCommand& command) {
  const absl::StatusOr<v1::Model> model = service.GetModel("");
  if (!model.ok()) return model.status();
  const absl::StatusOr<GridRanks> ranks = ResolveGrid(*model, command.q, command.kv);
  if (!ranks.ok()) return ranks.status();
  const auto text = PrepareText(service, command.file, max_context, bos, command.stride);
  if (!text.ok()) return text.status();
  OutputFile csv, svg;
  absl::Status status;
  if (!command.csv.empty()) status = csv.Open("--csv", command.csv);
  if (status.ok() && !command.svg.empty()) status = svg.Open("--svg", command.svg);
  if (!status.ok()) return status;

  const auto scores = ScoreWithProgress(service, *text, AllPairs(*ranks));
  if (!scores.ok()) return scores.status();
  ScoreGrid grid;
  grid.model = model->id();
  grid.text = std::filesystem::path(command.file).filename().string();
  grid.q = ranks->q;
  grid.kv = ranks->kv;
  grid.scored = scores->front().scored;
  grid.window = text->window;
  grid.stride = text->stride;
  grid.windows = DescribeWindows(*text, grid.scored);
  for (const TextScore& score : *scores) grid.logprobs.push_back(score.logprob);
  status = WriteToStdout(GridTable(grid));
  // The figures took long: each is kept where it can be, whatever became of the others.
  if (csv.is_open()) status.Update(csv.Write(GridCsv(grid)));
  if (svg.is_open()) status.Update(svg.Write(GridSvg(grid)));
  return status;
}

}  // namespace

absl::Status RunScore(Service& service, int64_t max_context, std::optional<uint32_t> bos,
                      const ScoreCommand& command) {
  return command.grid ? RunGrid(service, max_context, bos, command)
                      : RunOne(service, max_context, bos, command);
}

}  // namespace latentd
