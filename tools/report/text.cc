#include "collector/record/text.h"

#include <algorithm>

#include "collector/options/options.h"
#include "collector/record/text_reread.h"
#include "tools/report/fits.h"
#include "tools/report/formats.h"
#include "tools/report/page_text.h"
#include "tools/report/select.h"

namespace oomguard::tools {
namespace {

constexpr size_t kShownLines = 12;
constexpr size_t kShownFiles = 8;
constexpr size_t kEarlierShown = 10;

std::string size_of(int64_t bytes) {
  char text[24];
  return std::string(text, options::format_bytes(bytes, text, sizeof(text)));
}

std::string right(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

void put_warning(const record::FlightHeader& header, PageText* page) {
  char line[640];
  page->lines(std::string(line, record::render_reread(header, line, sizeof(line))));
}

// "  2.3 GiB  train.py:41 load_batches", and the line itself below.
void put_line(const Report& report, const Line& line, PageText* page) {
  const Frame* frame = line.frame < 0 ? nullptr : &report.frames[line.frame];
  std::string place = frame == nullptr ? "(no frame known)" : line_name(*report.flight, *frame);
  std::string text = right(size_of(line.held.*report.held), 11) + "  ";
  if (report.held == &Held::live_bytes && line.held.untouched_bytes > line.held.live_bytes / 20) {
    place += ", " + size_of(line.held.untouched_bytes) + " not filled yet";
  }
  page->line(text + shortened(shown(place), PageText::kColumns - text.size(), true), text.size(),
             frame != nullptr && frame->own ? Style::kOwn : Style::kPlain);
  if (line.source.empty()) return;
  page->line(std::string(text.size(), ' ') + "  " +
                 shortened(shown(line.source), PageText::kColumns - text.size() - 2, true),
             text.size() + 2, Style::kDim);
}

void put_lines(const Report& report, PageText* page) {
  std::vector<const Line*> lines;
  for (const Line& line : report.lines) {
    if (line.held.*report.held > 0) lines.push_back(&line);
  }
  if (lines.empty()) return;
  page->line("Held by line of code " + std::string(report.held_when) +
             " (blocks below 1 MiB are estimated):");
  for (size_t i = 0; i < lines.size() && i < kShownLines; ++i) put_line(report, *lines[i], page);
  if (lines.size() > kShownLines) {
    page->line(std::string(13, ' ') + "and " + std::to_string(lines.size() - kShownLines) +
               " more lines");
  }
}

void put_models(const Report& report, PageText* page) {
  const auto& files = report.flight->model_files();
  if (files.empty()) return;
  page->line("Checkpoint files:");
  for (size_t i = 0; i < files.size() && i < kShownFiles; ++i) {
    const record::ModelFile& file = files[i];
    page->line(right(size_of(file.size_bytes), 11) + "  " + file.path +
                   (file.mapped_bytes > 0 ? ", mapped " + size_of(file.mapped_bytes) : ""),
               13);
  }
  if (files.size() > kShownFiles) {
    page->line(std::string(13, ' ') + "and " + std::to_string(files.size() - kShownFiles) +
               " more");
  }
  for (const Fit& fit : report.fits) {
    for (const std::string& line : advice_of(fit)) page->line(line, 7);
  }
}

void put_evidence(const Report& report, PageText* page) {
  if (!report.death || !report.death->is_to_explain()) return;
  page->line("What is known of its end:");
  for (const std::string& line : report.death->evidence) page->line("  " + line, 4);
}

void put_earlier(const Report& report, PageText* page) {
  const auto& refusals = report.flight->refusals();
  if (refusals.size() < 2) return;
  page->line("Earlier refusals of this session:");
  char note[1024];
  for (size_t i = 1; i < refusals.size() && i <= kEarlierShown; ++i) {
    const record::RefusalRecord& refusal = *refusals[refusals.size() - 1 - i];
    record::render_note(report.header(), refusal, note, sizeof(note));
    // The note's last part says how to get here.
    const std::string line = note;
    page->line("  " + std::to_string(refusal.sequence.load()) + "  " +
                   line.substr(0, line.rfind("; more:")),
               5);
  }
}

}  // namespace

std::string report_text(const Report& report, bool colours) {
  const record::FlightHeader& header = report.header();
  PageText page(colours);
  page.line("Session: " + report.flight->path() + ", process " + std::to_string(header.pid) + ", " +
                state_name(header),
            9, Style::kDim);
  put_warning(header, &page);
  page.line(report.headline, 0, Style::kStrong);
  if (report.newest() == nullptr) {
    page.line("Program: " + std::string(header.command), 9);
  }
  for (const std::string& line : report.summary) page.lines(line);
  put_lines(report, &page);
  put_models(report, &page);
  page.lines(report.numbers);
  put_evidence(report, &page);
  put_earlier(report, &page);
  page.line("More:  oomguard report --format html -o report.html " + report.flight->path(), 7);
  page.line(
      std::string("Off:   OOMGUARD=0") + (header.is_kernel != 0 ? ", then restart the kernel" : ""),
      7);
  return page.text();
}

}  // namespace oomguard::tools
