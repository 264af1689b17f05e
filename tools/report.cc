// `oomguard report`: what was recorded of a refusal.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>

#include "collector/record/line_buffer.h"
#include "collector/record/sessions.h"
#include "collector/record/text.h"
#include "collector/record/text_reread.h"
#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/verb.h"
#include "tools/report/json.h"
#include "tools/report/select.h"
#include "tools/report/tree.h"

namespace oomguard::tools {
namespace {

constexpr size_t kReportCapacity = 16384;
constexpr size_t kEarlierShown = 10;

struct ReportArguments {
  std::string session;
  std::string directory;
  std::string format = "text";
  bool last = false;
  bool list = false;
};

std::string local_time(int64_t seconds) {
  const time_t time = static_cast<time_t>(seconds);
  tm parts{};
  char text[32];
  localtime_r(&time, &parts);
  return std::string(text, strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts));
}

// Text from a file as a terminal may be shown it.
std::string shown(const char* text) {
  std::string out(2048, '\0');
  record::LineBuffer line(out.data(), out.size());
  line.name(text, out.size() / 2).end_line();
  out.resize(line.finish());
  if (!out.empty()) out.pop_back();
  return out;
}

void print_listed(const Listed& session, int depth) {
  const std::string name =
      std::string(2 * static_cast<size_t>(std::min(depth, 8)), ' ') + session.file.name;
  if (!session.header) {
    printf("%-24s %s\n", name.c_str(), session.fault.c_str());
    return;
  }
  printf("%-24s %-19s %8llu  %-22s %s\n", name.c_str(),
         local_time(session.file.start_seconds).c_str(),
         static_cast<unsigned long long>(session.header->refusals.load()),
         state_name(*session.header), shown(session.header->command).c_str());
}

void print_list_head() {
  printf("%-24s %-19s %8s  %-22s %s\n", "session", "started", "refusals", "state", "command");
}

Result<int> list_all(const std::string& directory) {
  const auto sessions = list_by_tree(directory);
  if (!sessions) return sessions.error();
  if (sessions->empty()) return Error{"no session is recorded in " + directory, kFailed};
  print_list_head();
  for (const Listed& session : *sessions) print_listed(session, session.depth);
  return kOk;
}

// What is recorded of the processes that this one started.
void print_children(const std::string& directory, const record::Flight& flight) {
  const auto sessions = list_by_tree(directory);
  if (!sessions) return;
  const auto children = below(*sessions, std::filesystem::path(flight.path()).stem());
  if (children.empty()) return;
  printf("Sessions of processes that it started:\n");
  print_list_head();
  const int first = children.front()->depth;
  for (const Listed* child : children) print_listed(*child, child->depth - first);
}

void print_earlier(const record::Flight& flight) {
  const auto& refusals = flight.refusals();
  if (refusals.size() < 2) return;
  printf("Earlier refusals of this session:\n");
  char note[1024];
  for (size_t i = 1; i < refusals.size() && i <= kEarlierShown; ++i) {
    const record::RefusalRecord& refusal = *refusals[refusals.size() - 1 - i];
    record::render_note(flight.header(), refusal, note, sizeof(note));
    // The note's last part says how to get here.
    const std::string line = note;
    printf("  %llu  %s\n", static_cast<unsigned long long>(refusal.sequence.load()),
           line.substr(0, line.rfind("; more:")).c_str());
  }
}

void print_warning(const record::FlightHeader& header) {
  char line[640];
  printf("%.*s", static_cast<int>(record::render_reread(header, line, sizeof(line))), line);
}

void print_text(const record::Flight& flight) {
  const record::FlightHeader& header = flight.header();
  printf("Session: %s, process %d, %s\n", flight.path().c_str(), header.pid, state_name(header));
  print_warning(header);
  if (flight.refusals().empty()) {
    printf("Program: %s\nNothing was refused.\n", shown(header.command).c_str());
    return;
  }
  std::string text(kReportCapacity, '\0');
  text.resize(record::render(header, *flight.refusals().back(), record::Audience::kFull,
                             text.data(), text.size()));
  printf("%s", text.c_str());
  print_earlier(flight);
}

Result<int> show_report(const ReportArguments& arguments) {
  if (arguments.format != "text" && arguments.format != "json") {
    return Error{"--format: '" + arguments.format + "' is not accepted; accepted: text, or json",
                 kBadUsage};
  }
  const auto settings = read_settings(environ);
  if (!settings) return settings.error();
  const std::string directory =
      arguments.directory.empty() ? session_directory(*settings) : arguments.directory;
  record::prune_sessions(directory, {});
  if (arguments.list) return list_all(directory);
  const auto flight =
      arguments.session.empty() ? open_last(directory) : open_named(directory, arguments.session);
  if (!flight) return flight.error();
  if (arguments.format == "json") {
    printf("%s", report_json(*flight).c_str());
  } else {
    print_text(*flight);
    print_children(directory, *flight);
  }
  return kOk;
}

}  // namespace

Verb add_report(CLI::App& parent) {
  auto* app = parent.add_subcommand("report", "Show what was recorded of a refusal");
  auto arguments = std::make_shared<ReportArguments>();
  auto* session = app->add_option("SESSION", arguments->session,
                                  "A session's name (see --list) or a flight file");
  auto* last =
      app->add_flag("--last", arguments->last, "The session with the newest refusal (default)");
  auto* list =
      app->add_flag("--list", arguments->list,
                    "List the recorded sessions, children under the process that started them");
  session->excludes(last);
  list->excludes(session);
  list->excludes(last);
  app->add_option("--format", arguments->format, "text, or json")->option_text("FORMAT [text]");
  app->add_option("--dir", arguments->directory, "Folder of sessions, if not the usual one")
      ->option_text("DIR");
  return {app, [arguments] { return show_report(*arguments); }};
}

}  // namespace oomguard::tools
