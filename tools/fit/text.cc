#include <algorithm>
#include <cstdio>
#include <map>

#include "collector/fit/weights.h"
#include "tools/fit/output.h"
#include "tools/report/amount.h"
#include "tools/report/page_text.h"

namespace oomguard::tools {
namespace {

using fit::Library;
using fit::Outcome;

constexpr size_t kNumber = 8;  // columns of one
constexpr size_t kHow = 39;
constexpr int64_t kLeastShown = int64_t{54} << 20;  // "0.1"

std::string gibibytes(int64_t bytes) {
  if (bytes == INT64_MAX) return "none";
  char text[32];
  snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(bytes) / (int64_t{1} << 30));
  return text;
}

std::string right(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string parameters_of(int64_t count) {
  char text[32];
  if (count >= 1'000'000'000) {
    snprintf(text, sizeof text, "%.1f B", static_cast<double>(count) / 1e9);
  } else {
    snprintf(text, sizeof text, "%.1f M", static_cast<double>(count) / 1e6);
  }
  return text;
}

// "bfloat16 35.6 GiB, float32 0.1 GiB", most bytes first.
std::string dtypes_of(const fit::Checkpoint& checkpoint) {
  std::map<fit::Dtype, int64_t> bytes;
  for (const fit::Part& part : checkpoint.parts) {
    for (const fit::Tensor& tensor : part.tensors) {
      bytes[tensor.dtype] = fit::plus(bytes[tensor.dtype], tensor.bytes);
    }
  }
  std::vector<std::pair<fit::Dtype, int64_t>> sorted(bytes.begin(), bytes.end());
  std::ranges::sort(sorted, [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (const auto& [dtype, size] : sorted) {
    text += (text.empty() ? "" : ", ") + std::string(name_of(dtype)) + " " + amount(size);
  }
  return text;
}

const char* library_name(Library library) {
  switch (library) {
    case Library::kTransformers5:
      return "5";
    case Library::kTransformers4:
      return "4";
    case Library::kDiffusers:
      return "diffusers";
    case Library::kSafetensors:
      return "safetensors";
    case Library::kTorch:
      return "torch.load";
    case Library::kLlamaCpp:
      return "llama.cpp";
  }
  return "";
}

std::string number(int64_t bytes) {
  char text[32];
  const double size = static_cast<double>(bytes) / (int64_t{1} << 30);
  snprintf(text, sizeof text, size < 0.995 ? "~%.2f" : "~%.1f", size);
  return text;
}

// One line of the table: ways that take the same, such as those of transformers 4 and 5.
struct Row {
  std::string how;
  std::string versions;
  std::string own;
  std::string mapped;
  std::string gpus;
  std::string verdict;
  bool fits;
};

// As transformers 5 names it, and short.
std::string how_of(const Outcome& outcome, const FitPage& page) {
  fit::Way way = outcome.way;
  fit::Room anywhere = page.room;
  anywhere.host = INT64_MAX;  // no max_memory
  if (way.library == Library::kTransformers4) way.library = Library::kTransformers5;
  std::string text = fit::arguments_of(way, page.checkpoint, anywhere);
  const auto replace = [&text](const std::string& what, const std::string& with) {
    const size_t at = text.find(what);
    if (at != std::string::npos) text.replace(at, what.size(), with);
  };
  replace("quantization_config=BitsAndBytesConfig(load_in_", "bitsandbytes ");
  replace("bit=True)", "-bit");
  replace(", offload_folder=\"offload\"", "");
  replace(", low_cpu_mem_usage=True", ", low_cpu_mem");
  return text;
}

std::string short_verdict(const Outcome& outcome) {
  switch (outcome.verdict) {
    case fit::Verdict::kFits:
      return "fits";
    case fit::Verdict::kReadsAgain:
      return "fits, reads " + number(outcome.read_again);
    case fit::Verdict::kDoesNotFit:
      return "short " + number(std::max(outcome.missing, kLeastShown)) +
             (outcome.missing_gpu >= 0 ? " on GPU " + std::to_string(outcome.missing_gpu) : "");
  }
  return "";
}

std::vector<Row> rows_of(const FitPage& page) {
  std::vector<Row> rows;
  for (const Outcome& outcome : page.outcomes) {
    const fit::Need& need = outcome.need;
    Row row{how_of(outcome, page),
            library_name(outcome.way.library),
            number(need.anonymous),
            number(need.mapped),
            "",
            short_verdict(outcome),
            outcome.verdict != fit::Verdict::kDoesNotFit};
    for (const int64_t bytes : need.gpus)
      row.gpus += right(bytes == 0 ? "-" : number(bytes), kNumber);
    // low_cpu_mem_usage is worth a line of its own only where it makes a difference.
    const auto same = std::ranges::find_if(rows, [&](const Row& other) {
      return row.how.starts_with(other.how) && other.own == row.own && other.gpus == row.gpus &&
             other.verdict == row.verdict && (other.how == row.how || outcome.way.low_cpu_mem);
    });
    if (same == rows.end()) {
      rows.push_back(std::move(row));
    } else if (same->versions.find(row.versions) == std::string::npos) {
      same->versions += ", " + row.versions;
    }
  }
  return rows;
}

void put_table(const FitPage& page, PageText* text) {
  const bool versions = page.checkpoint.layout == fit::Layout::kTransformers;
  const auto line = [&](const Row& row) {
    return row.how + std::string(kHow - std::min(kHow, row.how.size()), ' ') +
           (versions ? " " + row.versions +
                           std::string(5 - std::min<size_t>(5, row.versions.size()), ' ')
                     : "") +
           right(row.own, kNumber) + right(row.mapped, kNumber) + row.gpus + "  " + row.verdict;
  };
  Row head{versions ? "transformers" : "", "", "own", "mapped", "", "", true};
  if (versions) head.how = std::string(kHow - 12, ' ') + "transformers";
  for (size_t i = 0; i < page.room.gpus.size(); ++i) {
    head.gpus += right("GPU " + std::to_string(i), kNumber);
  }
  text->line(line(head));
  for (const Row& row : rows_of(page)) text->line(line(row), 4);
}

void put_best(const FitPage& page, std::string* text) {
  if (page.outcomes.empty()) return;
  const Outcome* best = fit::best_of(page.outcomes, page.outcomes.front().way.library);
  if (best == nullptr) {
    *text += "Nothing of this fits.\n";
    return;
  }
  *text += best->verdict == fit::Verdict::kReadsAgain ? "The least bad, which is slow:\n"
                                                      : "The best of what fits:\n";
  for (const std::string& line : fit::call_of(best->way, page.checkpoint, page.room)) {
    *text += "    " + shown(line) + "\n";
  }
}

}  // namespace

std::string predicted(int64_t bytes) { return "~" + gibibytes(bytes); }

std::string verdict_of(const Outcome& outcome) {
  switch (outcome.verdict) {
    case fit::Verdict::kFits:
      return "fits";
    case fit::Verdict::kReadsAgain:
      return "fits, reads " + predicted(outcome.read_again) + " from disk on each pass";
    case fit::Verdict::kDoesNotFit:
      return "does not fit by " + predicted(std::max(outcome.missing, kLeastShown)) +
             (outcome.missing_gpu >= 0 ? " (GPU " + std::to_string(outcome.missing_gpu) + ")" : "");
  }
  return "";
}

std::string fit_text(const FitPage& page) {
  PageText text(false);
  const fit::Sums sums = fit::sums_of(page.checkpoint);
  size_t files = 0;
  for (const fit::Part& part : page.checkpoint.parts) files += part.files.size();
  text.line(shown(page.checkpoint.path));
  text.line(
      "  " +
      (sums.parameters > 0 ? parameters_of(sums.parameters) + " parameters, " : std::string()) +
      gibibytes(sums.bytes) + " on disk in " + std::to_string(files) +
      (files == 1 ? " file" : " files") + ", stored as " + dtypes_of(page.checkpoint));
  for (const fit::Part& part : page.checkpoint.parts) {
    if (part.folder.empty()) continue;
    fit::Checkpoint one{"", page.checkpoint.layout, "", {part}};
    text.line("  " + shown(part.folder) + ": " + parameters_of(fit::sums_of(one).parameters) +
                  " parameters, " + dtypes_of(one),
              4);
  }
  std::string missing;
  for (const std::string& name : page.checkpoint.missing) {
    missing += (missing.empty() ? "" : ", ") + shown(name);
  }
  if (!missing.empty()) {
    text.line("  Named in model_index.json, and not there: " + missing, 4);
  }
  std::string room = (page.planned ? "Memory left, as --limit says: " : "Memory left now: ") +
                     gibibytes(page.left);
  if (page.left != INT64_MAX) {
    room += "; " + predicted(fit::kImports) + " of it goes to the imports of torch and the library";
  }
  text.line(room);
  for (size_t i = 0; i < page.room.gpus.size(); ++i) {
    text.line("GPU " + std::to_string(i) + ": " + gibibytes(page.room.gpus[i]));
  }
  if (page.outcomes.empty()) {
    text.line("It is not known how these weights are trained.");
    return text.text();
  }
  text.line(page.train
                ? "Training with AdamW: weights, gradients and two states; activations come on top."
                : "own: memory of the process alone; mapped: of the files, given back when memory "
                  "is short.");
  text.line("Predicted peaks in GiB; reads: from disk on each pass; short: what is missing.");
  put_table(page, &text);
  std::string out = text.text();
  put_best(page, &out);
  return out;
}

}  // namespace oomguard::tools
