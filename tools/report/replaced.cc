#include "tools/report/replaced.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "collector/record/reader.h"
#include "collector/record/sessions.h"
#include "tools/command/exit_status.h"
#include "tools/report/death.h"
#include "tools/report/model.h"
#include "tools/report/page_text.h"

namespace oomguard::tools {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
// A notebook may be opened again days later; then nobody wonders where its variables are.
constexpr int64_t kNotebookNs = 24 * 3600 * kNsPerSecond;
constexpr int64_t kCurveNs = 60 * kNsPerSecond;
constexpr int kWidth = 320;
constexpr int kHeight = 48;

struct Replaced {
  std::string path;
  bool same_connection = false;
};

// The newest kernel with that key that runs no more; "" where there is none.
Replaced find(const std::string& directory, const std::string& connection) {
  const auto sessions = record::list_sessions(directory);
  if (!sessions) return {};
  std::string notebook;
  for (const record::SessionFile& session : *sessions) {
    const auto header = record::read_header(session.path);
    if (!header || (*header)->is_kernel == 0) continue;
    const bool same = connection == (*header)->connection_file;
    if (record::is_running(**header)) {
      if (same) notebook = (*header)->notebook;
    } else if (same || (!notebook.empty() && notebook == (*header)->notebook)) {
      return {session.path, same};
    }
  }
  return {};
}

// Whoever comes next does not hear it again.
void remember_told(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  const uint32_t told = 1;
  constexpr auto kAt = offsetof(record::FlightHeader, end) + offsetof(record::EndRecord, told);
  [[maybe_unused]] const ssize_t written = ::pwrite(fd, &told, sizeof told, kAt);
  ::close(fd);
}

bool is_out_of_memory_or_crash(const Death& death) {
  return death.verdict.confidence != verdict::Confidence::kNone &&
         (verdict::is_out_of_memory(death.verdict.kind) ||
          death.verdict.kind == verdict::Kind::kCrashed);
}

bool is_recent(const Death& death) {
  return int64_t{::time(nullptr)} * kNsPerSecond - death.at_realtime_ns < kNotebookNs;
}

std::string time_of_day(int64_t realtime_ns) {
  const time_t seconds = realtime_ns / kNsPerSecond;
  tm parts{};
  char text[16];
  ::localtime_r(&seconds, &parts);
  return std::string(text, strftime(text, sizeof text, "%H:%M:%S", &parts));
}

std::vector<std::string> lines_of(const record::Flight& flight, const Death& death) {
  const record::FlightHeader& header = flight.header();
  std::string first = "The previous kernel";
  if (header.notebook[0] != '\0') {
    first += " of " + shown(std::filesystem::path(header.notebook).filename().string());
  }
  first += " " + death.what + " at " + time_of_day(death.at_realtime_ns);
  if (const uint32_t cell = header.cell.load(); cell != 0) {
    first += " in cell [" + std::to_string(cell) + "]";
  }
  std::vector<std::string> lines{first + ".", shown(death.cause)};
  for (const std::string& line : death.more) lines.push_back(shown(line));
  lines.push_back("Its variables are lost; files are untouched.");
  lines.push_back("More: oomguard report " + std::filesystem::path(flight.path()).stem().string());
  return lines;
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
         "\" y1=\"2\" y2=\"2\" stroke=\"#c33\" "
         "stroke-dasharray=\"4 3\"/><polyline fill=\"none\" stroke=\"currentColor\" "
         "stroke-width=\"1.5\" points=\"" +
         points + "\"/></svg>";
}

std::string html_of(const std::vector<std::string>& lines, const std::string& picture) {
  std::string html = "<div style=\"border-left:4px solid #c33;padding:2px 10px;margin:4px 0\">";
  for (size_t i = 0; i < lines.size(); ++i) {
    const char* tag = i == 0 ? "strong" : "span";
    html += std::string("<div><") + tag + ">" + escaped(lines[i]) + "</" + tag + "></div>";
    if (i == 1 && !picture.empty()) html += "<div>" + picture + "</div>";
  }
  return html + "</div>";
}

}  // namespace

Result<std::string> replaced_kernel(const std::string& directory, const std::string& connection) {
  const Error nothing{"no kernel died before " + connection, kFailed};
  const Replaced replaced = find(directory, connection);
  if (replaced.path.empty()) return nothing;
  const auto flight = record::read_flight(replaced.path);
  if (!flight || flight->header().end.told != 0) return nothing;
  const Death death = explain_death(*flight);
  remember_told(replaced.path);
  if (!death.is_to_explain()) return nothing;
  // The same notebook of another server: nobody may be surprised that the old kernel is gone.
  if (!replaced.same_connection && !(is_out_of_memory_or_crash(death) && is_recent(death))) {
    return nothing;
  }
  const std::vector<std::string> lines = lines_of(*flight, death);
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  const nlohmann::json told = {{"text", text}, {"html", html_of(lines, curve(flight->samples()))}};
  return told.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace oomguard::tools
