// Fills the model of a report from a flight file (declared in model.h).
#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "collector/record/text.h"
#include "collector/record/text_parts.h"
#include "tools/report/fits.h"
#include "tools/report/lines.h"
#include "tools/report/model.h"
#include "tools/report/page_text.h"
#include "tools/report/select.h"
#include "tools/report/symbols.h"

namespace oomguard::tools {
namespace {

constexpr size_t kTextCapacity = 16384;
constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr size_t kLinesWithSource = 2000;

std::string rendered(const record::Flight& flight, record::Audience audience) {
  std::string text(kTextCapacity, '\0');
  text.resize(record::render(flight.header(), *flight.refusals().back(), audience, text.data(),
                             text.size()));
  return text;
}

// Audience::kFull is kScript's lines with numbers in place of the last one, which says how to get
// here.
void put_words(const record::Flight& flight, Report* report) {
  const record::FlightHeader& header = flight.header();
  if (flight.refusals().empty()) {
    const std::string state = state_name(header);
    report->headline = state == "running" ? "Nothing was refused so far."
                       : state == "gone without ending"
                           ? "This process is gone without an end of its own. Nothing was refused."
                           : "Nothing was refused.";
    return;
  }
  const std::string script = rendered(flight, record::Audience::kScript);
  const std::string full = rendered(flight, record::Audience::kFull);
  const auto differ = std::mismatch(script.begin(), script.end(), full.begin(), full.end());
  const auto common = static_cast<size_t>(differ.second - full.begin());
  report->numbers = full.substr(common == 0 ? 0 : full.rfind('\n', common - 1) + 1);
  const bool cell = header.is_kernel != 0;
  report->summary = split_lines(cell ? rendered(flight, record::Audience::kCell) : script);
  if (report->summary.empty()) return;
  report->summary.pop_back();
  if (report->summary.empty()) return;
  report->headline = report->summary.front();
  report->summary.erase(report->summary.begin());
}

std::vector<PythonPart> add_python(const std::vector<record::PythonFrame>& stack, Frames* frames) {
  std::vector<PythonPart> parts;
  for (const record::PythonFrame& one : stack) {
    parts.push_back({frames->add(frame_of(one)), one.entry});
  }
  return parts;
}

class NativeSide {
 public:
  NativeSide(const record::Flight& flight, Frames* frames)
      : symbols_(flight.modules()), frames_(frames) {}

  // One address makes as many frames as were inlined there.
  std::vector<NativePart> add(const std::vector<record::NativeFrame>& stack) {
    std::vector<NativePart> parts;
    for (const record::NativeFrame& one : stack) {
      const auto [at, is_new] = known_.try_emplace({one.module, one.offset});
      if (is_new) at->second = resolve(one);
      parts.insert(parts.end(), at->second.begin(), at->second.end());
    }
    return parts;
  }

 private:
  std::vector<NativePart> resolve(const record::NativeFrame& one) {
    std::vector<NativePart> parts;
    const bool interpreter = symbols_.is_interpreter(one.module);
    const std::vector<Frame> found = symbols_.at(one.module, one.offset);
    const bool loop = interpreter && is_evaluation_loop(found.front().function);
    for (const Frame& frame : found) {
      const bool glue = interpreter && is_call_glue(frame.function);
      const bool nameless = interpreter && frame.function.empty();
      parts.push_back({frames_->add(frame), loop, interpreter, glue, nameless});
      if (loop) break;  // what the compiler inlined into the loop is the loop
    }
    return parts;
  }

  Symbols symbols_;
  Frames* frames_;
  std::map<std::pair<int, uint64_t>, std::vector<NativePart>> known_;
};

template <typename Part>
std::vector<int> frames_of(const std::vector<Part>& parts) {
  std::vector<int> frames;
  for (const Part& part : parts) frames.push_back(part.frame);
  return frames;
}

void put_stacks(const record::Flight& flight, Report* report) {
  NativeSide native_side(flight, &report->frames);
  for (const record::Site& site : flight.sites()) {
    const std::vector<record::PythonFrame> calls = flight.python_stack(site);
    const auto python = add_python(calls, &report->frames);
    const auto native = native_side.add(flight.native_stack(site));
    SiteStacks stacks;
    if (!calls.empty()) {
      stacks.line = python[static_cast<size_t>(frame_of_line(calls))].frame;
    } else if (!native.empty()) {
      stacks.line = native.back().frame;
    }
    stacks.python = report->python.add(frames_of(python));
    stacks.native = report->native.add(frames_of(native));
    stacks.merged = report->merged.add(merge(python, native));
    stacks.held = {site.live_bytes, site.live_blocks, site.allocated_bytes, site.allocated_blocks,
                   site.untouched_bytes, site.refused_bytes};
    report->sites.push_back(stacks);
    if (site.refused_bytes > 0) report->held = &Held::refused_bytes;
  }
  report->held_when = report->held == &Held::refused_bytes ? "at the refusal"
                      : report->running                    ? "now"
                                                           : "when the process was seen last";
}

// The last moment at which the process is known to have run, in seconds since 1970.
int64_t last_seen_seconds(const record::Flight& flight) {
  const record::FlightHeader& header = flight.header();
  if (record::is_running(header)) return INT64_MAX;
  int64_t newest_ns = header.start_realtime_ns;
  if (!flight.refusals().empty()) {
    newest_ns = std::max(newest_ns, flight.refusals().back()->at_realtime_ns);
  }
  if (!flight.samples().empty()) {
    newest_ns = std::max(newest_ns, realtime_of(header, flight.samples().back().at_monotonic_ns));
  }
  return newest_ns / kNsPerSecond;
}

void put_lines(const record::Flight& flight, Report* report) {
  report->lines = sum_by_line(report->sites, report->held);
  const int64_t seen = last_seen_seconds(flight);
  for (size_t i = 0; i < report->lines.size() && i < kLinesWithSource; ++i) {
    Line& line = report->lines[i];
    if (line.frame < 0) continue;
    const Frame& frame = report->frames[line.frame];
    if (frame.python) line.source = source_line(frame.file, frame.line, seen);
  }
}

std::string last_part(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash + 1 == path.size()) return path;
  const std::string name = path.substr(slash + 1);
  if (name.rfind("__", 0) != 0) return name;
  // Every package has an __init__.py.
  const size_t before = slash == 0 ? std::string::npos : path.rfind('/', slash - 1);
  return before == std::string::npos ? name : path.substr(before + 1);
}

std::string hexadecimal(uint64_t value) {
  char text[24];
  snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

int64_t realtime_of(const record::FlightHeader& header, int64_t monotonic_ns) {
  int64_t since_start = 0;
  int64_t at = 0;
  if (__builtin_sub_overflow(monotonic_ns, header.start_monotonic_ns, &since_start) ||
      __builtin_add_overflow(header.start_realtime_ns, since_start, &at)) {
    return header.start_realtime_ns;
  }
  return at;
}

Frame frame_of(const record::PythonFrame& from) {
  Frame frame;
  frame.python = true;
  frame.own = from.own;
  frame.line = static_cast<int>(std::min<uint32_t>(from.line, INT32_MAX));
  frame.file = from.file;
  frame.function = from.function;
  return frame;
}

uint32_t cell_number(const record::Flight& flight, const std::string& file) {
  uint32_t number = 0;  // a cell that is executed again has the same file
  for (const record::CellRecord& cell : flight.header().cells) {
    const std::string_view end = cell.file;
    const bool cut = end.size() + 1 == sizeof cell.file;
    if (cut ? file.ends_with(end) : file == end) number = std::max(number, cell.number);
  }
  return number;
}

std::string place_of(const record::Flight& flight, const Frame& frame) {
  if (frame.python) {
    const uint32_t number = cell_number(flight, frame.file);
    const std::string cell =
        number != 0 ? "cell [" + std::to_string(number) + "]" : cell_name(frame.file);
    const std::string line = frame.line > 0 ? std::to_string(frame.line) : "";
    if (!cell.empty()) return line.empty() ? cell : cell + " line " + line;
    const std::string file = frame.file.empty() ? "unknown file" : last_part(frame.file);
    return line.empty() ? file : file + ":" + line;
  }
  if (!frame.file.empty() && frame.line > 0)
    return last_part(frame.file) + ":" + std::to_string(frame.line);
  const auto& modules = flight.modules();
  if (frame.module < 0 || static_cast<size_t>(frame.module) >= modules.size()) {
    return hexadecimal(frame.offset);
  }
  const std::string module = last_part(modules[static_cast<size_t>(frame.module)].path);
  return frame.offset == 0 ? module : module + "+" + hexadecimal(frame.offset);
}

std::string line_name(const record::Flight& flight, const Frame& frame) {
  const bool named = !frame.function.empty() && frame.function != "<module>";
  return place_of(flight, frame) + (named ? " " + frame.function : "");
}

std::string label_of(const record::Flight& flight, const Frame& frame) {
  if (frame.function.empty() || frame.function == "<module>") return place_of(flight, frame);
  return frame.python ? frame.function + " (" + place_of(flight, frame) + ")" : frame.function;
}

Report make_report(const record::Flight& flight) {
  Report report;
  report.flight = &flight;
  report.running = record::is_running(flight.header());
  put_words(flight, &report);
  put_stacks(flight, &report);
  put_lines(flight, &report);
  report.fits = what_would_fit(flight);
  return report;
}

}  // namespace oomguard::tools
