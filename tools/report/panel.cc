#include "tools/report/panel.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <vector>

#include "tools/report/amount.h"
#include "tools/report/fits.h"
#include "tools/report/lines.h"
#include "tools/report/model.h"
#include "tools/report/newest.h"
#include "tools/report/page_text.h"

namespace oomguard::tools {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr int64_t kCurveNs = 60 * kNsPerSecond;
constexpr int kWidth = 320;
constexpr int kHeight = 48;
constexpr size_t kExcerptLines = 3;
constexpr size_t kExcerptColumns = 100;

struct Words {
  std::string first;
  std::string cause;
  std::vector<std::string> excerpt;  // of the cell
  std::string top;                   // the line on top of the stack, where it is not the cell's
  std::vector<std::string> more;
};

// The first lines of the cell and the one that stands on the stack, as a traceback shows them.
std::vector<std::string> excerpt(const record::FlightHeader& header, uint32_t marked) {
  const std::vector<std::string> source = split_lines(header.cell_source);
  std::vector<std::string> shown_lines;
  const auto put = [&](size_t number) {
    char start[24];
    snprintf(start, sizeof start, "%s%3zu  ", number == marked ? "--> " : "    ", number);
    shown_lines.push_back(start + shortened(shown(source[number - 1]), kExcerptColumns, true));
  };
  for (size_t number = 1; number <= source.size() && number <= kExcerptLines; ++number) put(number);
  if (marked > kExcerptLines && marked <= source.size()) {
    if (marked > kExcerptLines + 1) shown_lines.emplace_back("    ...");
    put(marked);
  } else if (source.size() > kExcerptLines) {
    shown_lines.emplace_back("    ...");
  }
  return shown_lines;
}

// "At: data.py:12 load: return read(path)".
std::string top_line(const record::Flight& flight, const record::PythonFrame& frame,
                     int64_t seen_seconds) {
  const Frame top = frame_of(frame);
  const std::string source = source_line(top.file, top.line, seen_seconds);
  return "At: " + line_name(flight, top) + (source.empty() ? "" : ": " + source);
}

Words words_of(const record::Flight& flight, const Death& death) {
  const record::FlightHeader& header = flight.header();
  const uint32_t cell = header.cell.load();
  const std::vector<record::PythonFrame> stack = newest_stack(flight);
  const auto of_cell = std::find_if(stack.rbegin(), stack.rend(), [&](const auto& frame) {
    return cell != 0 && cell_number(flight, frame.file) == cell;
  });
  const uint32_t line = of_cell != stack.rend() ? of_cell->line : 0;
  Words words;
  const std::string notebook = notebook_of(header);
  words.first = "The previous kernel" + (notebook.empty() ? "" : " of " + notebook) + " " +
                death.what + " at " + time_of_day(death.at_realtime_ns);
  if (cell != 0) words.first += " in cell [" + std::to_string(cell) + "]";
  if (line != 0) words.first += ", line " + std::to_string(line);
  words.first += ".";
  words.cause = shown(death.cause_without_paths);
  words.excerpt = excerpt(header, line);
  if (const int top = frame_of_line(stack); cell != 0 && top >= 0) {
    const record::PythonFrame& frame = stack[static_cast<size_t>(top)];
    if (of_cell == stack.rend() || &frame != &*of_cell) {
      words.top = shown(top_line(flight, frame, death.at_realtime_ns / kNsPerSecond));
    }
  }
  for (const std::string& one : death.more) words.more.push_back(shown(one));
  for (const std::string& one : told_of_checkpoint(flight, death)) words.more.push_back(one);
  words.more.push_back("Its variables are lost; files are untouched.");
  words.more.push_back("More: oomguard report " +
                       std::filesystem::path(flight.path()).stem().string());
  return words;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// Memory in the last minute, and the limit above it; "" where there is too little to draw.
std::string curve(const std::vector<record::Sample>& samples) {
  if (samples.size() < 2) return "";
  const record::Sample& last = samples.back();
  const double limit = static_cast<double>(last.limit_bytes);
  if (last.limit_bytes <= 0 || last.limit_bytes == INT64_MAX) return "";
  std::string points;
  for (const record::Sample& sample : samples) {
    const double before =
        static_cast<double>(last.at_monotonic_ns) - static_cast<double>(sample.at_monotonic_ns);
    if (before > kCurveNs) continue;
    const double share = std::clamp(static_cast<double>(sample.needed_bytes) / limit, 0.0, 1.0);
    char point[48];
    snprintf(point, sizeof point, "%.1f,%.1f ", kWidth * (1 - before / kCurveNs),
             2 + (kHeight - 2) * (1 - share));
    points += point;
  }
  const std::string width = std::to_string(kWidth);
  return "<svg width=\"" + width + "\" height=\"" + std::to_string(kHeight) +
         "\" role=\"img\" aria-label=\"Memory in the last minute, and the limit\">"
         "<line x1=\"0\" x2=\"" +
         width +
         "\" y1=\"2\" y2=\"2\" stroke=\"#d44\" "
         "stroke-dasharray=\"4 3\"/><polyline fill=\"none\" stroke=\"currentColor\" "
         "stroke-width=\"1.5\" points=\"" +
         points + "\"/></svg><div style=\"opacity:.7;font-size:85%\">Last minute; dashed: limit " +
         escaped(amount(last.limit_bytes)) + "</div>";
}

// Colours are those of the page around it, so that a dark theme stays one.
std::string html_of(const Words& words, const std::string& picture) {
  std::string html =
      "<div style=\"border-left:4px solid #d44;padding:2px 10px;margin:4px 0\"><div><strong>" +
      escaped(words.first) + "</strong></div><div>" + escaped(words.cause) + "</div>";
  if (!words.excerpt.empty()) {
    html += "<pre style=\"margin:4px 0;padding:4px;overflow-x:auto;color:inherit;"
            "background:rgba(128,128,128,.15)\">";
    for (const std::string& line : words.excerpt) {
      const bool marked = line.starts_with("-");
      html += (marked ? "<strong>" : "") + escaped(line) + (marked ? "</strong>\n" : "\n");
    }
    html += "</pre>";
  }
  if (!words.top.empty()) html += "<div>" + escaped(words.top) + "</div>";
  if (!picture.empty()) html += "<div>" + picture + "</div>";
  for (const std::string& line : words.more) html += "<div>" + escaped(line) + "</div>";
  return html + "</div>";
}

}  // namespace

std::string time_of_day(int64_t realtime_ns) {
  const time_t seconds = realtime_ns / kNsPerSecond;
  tm parts{};
  char text[16];
  ::localtime_r(&seconds, &parts);
  return std::string(text, strftime(text, sizeof text, "%H:%M:%S", &parts));
}

std::string notebook_of(const record::FlightHeader& header) {
  return shown(std::filesystem::path(header.notebook).filename().string());
}

Panel make_panel(const record::Flight& flight, const Death& death) {
  const Words words = words_of(flight, death);
  std::string text = words.first + "\n" + words.cause;
  for (const std::string& line : words.excerpt) text += "\n" + line;
  if (!words.top.empty()) text += "\n" + words.top;
  for (const std::string& line : words.more) text += "\n" + line;
  return {text, html_of(words, death.is_about_memory ? curve(flight.samples()) : "")};
}

}  // namespace oomguard::tools
