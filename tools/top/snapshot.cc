#include "tools/top/snapshot.h"

#include <algorithm>
#include <map>
#include <optional>

#include "collector/record/sessions.h"
#include "tools/command/printable.h"
#include "tools/report/amount.h"
#include "tools/report/lines.h"

namespace oomguard::tools {
namespace {

constexpr int64_t kGrowthNs = 3'000'000'000;
constexpr size_t kSitesLooked = 500;  // the largest; what a screen has room for is among them
constexpr size_t kLineWidth = 44;

// What the site counts for, without the names of native code: of that the module stands for all.
std::optional<Frame> line_of(const record::Flight& flight, const record::Site& site) {
  const std::vector<record::PythonFrame> python = flight.python_stack(site);
  if (!python.empty()) return frame_of(python[static_cast<size_t>(frame_of_line(python))]);
  const std::vector<record::NativeFrame> native = flight.native_stack(site);
  if (native.empty() || native.back().module < 0) return std::nullopt;
  Frame module;
  module.module = native.back().module;
  return module;
}

void find_line(const record::Flight& flight, Guarded* out) {
  std::vector<record::Site> sites = flight.sites();
  const size_t count = std::min(sites.size(), kSitesLooked);
  std::partial_sort(sites.begin(), sites.begin() + static_cast<ptrdiff_t>(count), sites.end(),
                    [](const auto& a, const auto& b) { return a.live_bytes > b.live_bytes; });
  Frames frames;
  std::map<int, int64_t> lines;
  for (size_t i = 0; i < count; ++i) {
    const std::optional<Frame> line = line_of(flight, sites[i]);
    if (line) lines[frames.add(*line)] += sites[i].live_bytes;
  }
  for (const auto& [frame, bytes] : lines) {
    if (bytes <= out->line_bytes) continue;
    out->line = line_name(flight, frames[frame]);
    out->line_bytes = bytes;
  }
}

int64_t growth_of(const std::vector<record::Sample>& samples) {
  const record::Sample& last = samples.back();
  const record::Sample* before = &last;
  for (auto at = samples.rbegin(); at != samples.rend(); ++at) {
    if (last.at_monotonic_ns - at->at_monotonic_ns > kGrowthNs) break;
    if (at->own_anonymous_bytes < 0) break;
    before = &*at;
  }
  const double seconds = static_cast<double>(last.at_monotonic_ns - before->at_monotonic_ns) / 1e9;
  if (seconds < 0.2) return 0;
  const auto grown = static_cast<double>(last.own_anonymous_bytes - before->own_anonymous_bytes);
  return static_cast<int64_t>(grown / seconds);
}

// Columns that a UTF-8 text takes, and its beginning that takes no more than `width`.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string cut(const std::string& text, size_t width) {
  size_t at = 0;
  for (size_t columns = 0; at < text.size(); ++at) {
    if ((text[at] & 0xc0) != 0x80 && columns++ == width) break;
  }
  return text.substr(0, at);
}

std::string left(const std::string& text, size_t width) {
  return cut(text, width) + std::string(width - std::min(width, width_of(text)), ' ');
}

std::string right(const std::string& text, size_t width) {
  return std::string(width - std::min(width, width_of(text)), ' ') + text;
}

std::string amount_or_none(int64_t bytes) { return bytes < 0 ? "-" : amount(bytes); }

std::string growth_text(int64_t bytes) {
  if (bytes == 0) return "0";
  return bytes < 0 ? "-" + amount(-bytes) : "+" + amount(bytes);
}

std::string row_of(const Guarded& one) {
  const std::string line =
      one.line.empty() ? "-" : amount(one.line_bytes) + " " + printable(one.line);
  const std::string left_bytes =
      one.headroom_bytes == INT64_MAX ? "-" : amount(std::max<int64_t>(one.headroom_bytes, 0));
  return right(std::to_string(one.pid), 8) + right(amount_or_none(one.own_bytes), 11) +
         right(growth_text(one.growth_bytes), 12) + right(amount_or_none(one.needed_bytes), 11) +
         right(amount(one.limit_bytes), 11) + right(left_bytes, 11) +
         right(std::to_string(one.refusals), 9) + "  " + left(line, kLineWidth) + "  " +
         printable(one.command);
}

std::string head() {
  return right("PID", 8) + right("MEMORY", 11) + right("GROWTH/S", 12) + right("IN USE", 11) +
         right("LIMIT", 11) + right("LEFT", 11) + right("REFUSED", 9) + "  " +
         left("LINE THAT HOLDS MOST", kLineWidth) + "  COMMAND";
}

}  // namespace

Guarded look_at(const record::Flight& flight) {
  const record::FlightHeader& header = flight.header();
  Guarded one;
  one.pid = header.pid;
  one.command = header.command;
  one.limit_bytes = header.limit_bytes;
  one.refusals = header.refusals.load();
  if (!flight.samples().empty()) {
    const record::Sample& last = flight.samples().back();
    one.own_bytes = last.own_anonymous_bytes;
    one.needed_bytes = last.needed_bytes;
    one.limit_bytes = last.limit_bytes;
    one.headroom_bytes = last.headroom_bytes;
    one.growth_bytes = growth_of(flight.samples());
  }
  find_line(flight, &one);
  return one;
}

Result<std::vector<Guarded>> look_at_running(const std::string& directory) {
  const auto sessions = record::list_sessions(directory);
  if (!sessions) return sessions.error();
  std::vector<Guarded> processes;
  for (const record::SessionFile& session : *sessions) {
    if (!record::is_running(session)) continue;
    const auto flight = record::read_flight(session.path);
    // It may have become another program: the new one has a session of its own.
    const bool ended = flight && flight->header().end_state.load() !=
                                     static_cast<uint32_t>(record::EndState::kRunning);
    if (flight && !ended) processes.push_back(look_at(*flight));
  }
  std::stable_sort(processes.begin(), processes.end(), [](const Guarded& a, const Guarded& b) {
    return a.own_bytes > b.own_bytes;
  });
  return processes;
}

std::string table_of(const std::vector<Guarded>& processes, size_t columns, size_t rows) {
  std::string text = cut(head(), columns) + "\n";
  size_t shown = 0;
  for (const Guarded& one : processes) {
    if (rows != 0 && ++shown >= rows) break;
    text += cut(row_of(one), columns) + "\n";
  }
  return text;
}

}  // namespace oomguard::tools
