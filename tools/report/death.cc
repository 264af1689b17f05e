#include "tools/report/death.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "collector/options/options.h"
#include "collector/record/own_code.h"
#include "collector/verdict/words.h"
#include "tools/report/model.h"

namespace oomguard::tools {
namespace {

constexpr size_t kShownLines = 3;
constexpr int64_t kShownShare = 20;  // of what is largest

Death judged(const record::FlightHeader& header, const record::RefusalRecord* newest,
             const std::vector<record::Sample>& samples, const verdict::Surroundings& around) {
  const verdict::Evidence evidence = verdict::gather(header, newest, samples, around);
  Death death;
  death.verdict = verdict::judge(evidence);
  death.what = verdict::what_happened(evidence, death.verdict);
  death.cause = verdict::cause(evidence, death.verdict);
  death.cause_without_paths = verdict::cause(evidence, death.verdict, false);
  death.evidence = verdict::evidence_lines(evidence);
  death.is_about_memory = verdict::is_about_memory(evidence, death.verdict);
  for (std::string line :
       {verdict::why_not_prevented(evidence, death.verdict), verdict::growth(evidence)}) {
    if (death.is_about_memory && !line.empty()) death.more.push_back(std::move(line));
  }
  death.at_realtime_ns = header.end.at_realtime_ns.load();
  if (evidence.last) {
    death.at_realtime_ns = realtime_of(header, evidence.last->at_monotonic_ns);
  }
  return death;
}

Death judged(const record::FlightHeader& header, const record::Flight& flight,
             const verdict::Surroundings& around) {
  const auto& refusals = flight.refusals();
  const record::RefusalRecord* newest = refusals.empty() ? nullptr : refusals.back();
  Death death = judged(header, newest, flight.samples(), around);
  const std::string largest = death.is_about_memory ? largest_lines(flight) : "";
  if (!largest.empty()) death.more.push_back("Largest: " + largest + ".");
  return death;
}

// The frame that a stack counts for: the person's own innermost one, else the innermost.
const record::PythonFrame* frame_of(const std::vector<record::PythonFrame>& stack) {
  for (auto at = stack.rbegin(); at != stack.rend(); ++at) {
    if (record::is_own_code(at->file)) return &*at;
  }
  return stack.empty() ? nullptr : &stack.back();
}

}  // namespace

bool Death::is_to_explain() const {
  switch (verdict.kind) {
    case verdict::Kind::kRunning:
    case verdict::Kind::kClean:
    case verdict::Kind::kExecuted:
    case verdict::Kind::kRefused:
    case verdict::Kind::kEndedByGuard:
      return false;
    default:
      return true;
  }
}

Death explain_death(const record::Flight& flight) {
  const verdict::Surroundings around = verdict::look_around();
  const auto header = record::read_header(flight.path());
  if (!header) return judged(flight.header(), flight, around);
  if ((*header)->end.at_realtime_ns.load() == 0 &&
      verdict::is_over(**header, around.pid_namespace)) {
    record::put_end(header->get(), {});
    static_cast<void>(record::write_end(flight.path(), **header));
  }
  return judged(**header, flight, around);
}

Death explain_end(const record::Flight& flight, const record::Ending& ending,
                  const record::FlightHeader* seen) {
  const auto header = record::read_header(flight.path());
  if (!header) return judged(flight.header(), flight, verdict::look_around());
  if ((*header)->group_count == 0 && seen != nullptr) {
    memcpy((*header)->groups, seen->groups, sizeof seen->groups);
    memcpy((*header)->boot_id, seen->boot_id, sizeof seen->boot_id);
    (*header)->group_count = seen->group_count;
    (*header)->ancestors_hidden = seen->ancestors_hidden;
    (*header)->machine_kills = seen->machine_kills;
  }
  record::put_end(header->get(), ending);
  static_cast<void>(record::write_end(flight.path(), **header));
  return judged(**header, flight, verdict::look_around());
}

Death explain_end(record::FlightHeader* header, const record::Ending& ending) {
  record::put_end(header, ending);
  return judged(*header, nullptr, {}, verdict::look_around());
}

std::string largest_lines(const record::Flight& flight) {
  std::map<std::string, int64_t> held;
  for (const record::Site& site : flight.sites()) {
    if (site.live_bytes <= 0) continue;
    const auto stack = flight.python_stack(site);
    const record::PythonFrame* frame = frame_of(stack);
    if (frame == nullptr) continue;
    Frame shown;
    shown.python = true;
    shown.file = frame->file;
    shown.line = static_cast<int>(std::min<uint32_t>(frame->line, INT32_MAX));
    held[place_of(flight, shown)] += site.live_bytes;
  }
  std::vector<std::pair<int64_t, std::string>> lines;
  for (const auto& [place, bytes] : held) lines.emplace_back(bytes, place);
  std::sort(lines.rbegin(), lines.rend());
  std::string text;
  for (size_t i = 0; i < lines.size() && i < kShownLines; ++i) {
    if (lines[i].first < lines.front().first / kShownShare) break;
    char size[24];
    options::format_bytes(lines[i].first, size, sizeof size);
    text += (text.empty() ? "" : ", ") + lines[i].second + " " + size;
  }
  return text;
}

void put_death(const Death& death, Report* report) {
  report->death = death;
  if (!death.is_to_explain()) return;
  if (report->newest() != nullptr) {
    report->summary.push_back("Ended: it " + death.what + ". " + death.cause);
    return;
  }
  report->headline = "This process " + death.what + ". Nothing was refused.";
  report->summary.push_back(death.cause);
  for (const std::string& line : death.more) report->summary.push_back(line);
}

}  // namespace oomguard::tools
