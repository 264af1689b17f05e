// `oomguard sessions`: the recorded sessions, and which of them go.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>

#include "collector/record/ending.h"
#include "collector/record/reader.h"
#include "collector/record/sessions.h"
#include "tools/command/exit_status.h"
#include "tools/command/option_flags.h"
#include "tools/command/printable.h"
#include "tools/command/verb.h"
#include "tools/report/amount.h"
#include "tools/report/select.h"
#include "tools/report/tree.h"

namespace oomguard::tools {
namespace {

constexpr int kDeepest = 8;
constexpr const char* kRow = "%-24s %-19s %10s %8s  %-22s %s\n";

struct SessionsArguments {
  std::string directory;
  std::vector<std::string> names;
  record::Keep keep;
  std::string bytes;
  int32_t pid = 0;
  int status = 0;
  int signal = 0;
  bool asked = false;
};

std::string local_time(int64_t seconds) {
  const time_t time = static_cast<time_t>(seconds);
  tm parts{};
  char text[32];
  localtime_r(&time, &parts);
  return std::string(text, strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts));
}

Result<std::string> folder(const SessionsArguments& arguments) {
  if (!arguments.directory.empty()) return arguments.directory;
  const auto settings = read_settings(environ);
  if (!settings) return settings.error();
  return session_directory(*settings);
}

Result<int> list(const SessionsArguments& arguments) {
  const auto directory = folder(arguments);
  if (!directory) return directory.error();
  const auto sessions = list_by_tree(*directory);
  if (!sessions) return sessions.error();
  if (sessions->empty()) return Error{"no session is recorded in " + *directory, kFailed};
  printf(kRow, "session", "started", "size", "refusals", "state", "command");
  int64_t bytes = 0;
  for (const Listed& session : *sessions) {
    const std::string margin(2 * static_cast<size_t>(std::min(session.depth, kDeepest)), ' ');
    const auto* header = session.header.get();
    bytes += session.file.disk_bytes;
    printf(kRow, (margin + session.file.name).c_str(),
           local_time(session.file.start_seconds).c_str(), amount(session.file.disk_bytes).c_str(),
           header != nullptr ? std::to_string(header->refusals.load()).c_str() : "",
           header != nullptr ? state_name(*header) : "cannot be read",
           printable(header != nullptr ? header->command : session.fault).c_str());
  }
  printf("%zu sessions, %s in %s\n", sessions->size(), amount(bytes).c_str(), directory->c_str());
  return kOk;
}

// All that were named, or an error for the first that is not there or runs.
Result<std::vector<record::SessionFile>> find_named(const std::string& directory,
                                                    const std::vector<std::string>& names) {
  const auto sessions = record::list_sessions(directory);
  if (!sessions) return sessions.error();
  std::vector<record::SessionFile> found;
  for (const std::string& name : names) {
    const auto at = std::find_if(sessions->begin(), sessions->end(),
                                 [&](const auto& session) { return session.name == name; });
    if (at == sessions->end()) {
      return Error{"'" + name + "' is no session in " + directory + "; see 'oomguard sessions'",
                   kFailed};
    }
    if (record::is_running(*at)) {
      return Error{name + ": its process " + std::to_string(at->pid) + " is running", kFailed};
    }
    found.push_back(*at);
  }
  return found;
}

Result<int> remove(const SessionsArguments& arguments) {
  const auto directory = folder(arguments);
  if (!directory) return directory.error();
  const auto named = find_named(*directory, arguments.names);
  if (!named) return named.error();
  for (const record::SessionFile& session : *named) {
    const auto removed = record::remove_session(session);
    if (!removed) return removed.error();
  }
  return kOk;
}

Result<int> prune(const SessionsArguments& arguments) {
  const auto directory = folder(arguments);
  if (!directory) return directory.error();
  record::Keep keep = arguments.keep;
  if (!arguments.bytes.empty() && !options::parse_bytes(arguments.bytes.c_str(), &keep.bytes)) {
    return Error{
        "--bytes: '" + printable(arguments.bytes) + "' is not accepted; accepted: a size (1GiB)",
        kBadUsage};
  }
  const record::Pruned pruned = record::prune_sessions(*directory, keep);
  printf("%zu sessions removed, %s given back\n", pruned.files, amount(pruned.bytes).c_str());
  return kOk;
}

// The newest session of a process that is over, as its parent saw it.
Result<int> ended(const SessionsArguments& arguments) {
  const auto directory = folder(arguments);
  if (!directory) return directory.error();
  const auto sessions = record::list_sessions(*directory);
  if (!sessions) return sessions.error();
  const auto at = std::find_if(sessions->begin(), sessions->end(), [&](const auto& session) {
    return session.pid == arguments.pid;
  });
  const std::string process = "process " + std::to_string(arguments.pid);
  if (at == sessions->end()) return Error{process + " has no session in " + *directory, kFailed};
  const auto header = record::read_header(at->path);
  if (!header) return header.error();
  if (record::is_running(**header)) return Error{process + " is running", kFailed};
  record::Ending ending;
  ending.has_wait_status = true;
  ending.wait_status = arguments.signal != 0 ? arguments.signal : arguments.status << 8;
  ending.asked = arguments.asked;
  record::put_end(header->get(), ending);
  if (!record::write_end(at->path, **header)) {
    return Error{at->path + " cannot be written, or says already how it ended", kFailed};
  }
  return kOk;
}

}  // namespace

std::vector<Verb> add_sessions(CLI::App& parent) {
  auto* group = parent.add_subcommand("sessions", "List and remove recorded sessions");
  group->require_subcommand(0, 1);
  std::vector<Verb> verbs;
  const auto add = [&](CLI::App* app, Result<int> (*act)(const SessionsArguments&)) {
    auto arguments = std::make_shared<SessionsArguments>();
    app->add_option("--dir", arguments->directory, "Folder of sessions, if not the usual one")
        ->option_text("DIR");
    verbs.push_back({app, [arguments, act] { return act(*arguments); }});
    return arguments;
  };
  add(group->add_subcommand("list", "All of them, children under the process that started them "
                                    "(default)"), list);
  auto* removal = group->add_subcommand("remove", "Remove sessions whose process is gone");
  auto removed = add(removal, remove);
  removal->add_option("SESSION", removed->names, "Names of sessions")->required();
  auto* pruning = group->add_subcommand(
      "prune", "Remove what is old or more than is kept, never a running process's");
  auto pruned = add(pruning, prune);
  pruning->add_option("--keep", pruned->keep.files, "How many stay")->option_text("N [200]");
  pruning->add_option("--days", pruned->keep.days, "How long they stay")
      ->check(CLI::Range(int64_t{0}, int64_t{36500}))
      ->option_text("D [30]");
  pruning->add_option("--bytes", pruned->bytes, "How much disk they may take together")
      ->option_text("SIZE [1GiB]");
  auto* ending = group->add_subcommand(
      "ended", "For whoever started a process and saw its end: put that into its session");
  auto end = add(ending, ended);
  ending->add_option("PID", end->pid, "The process")->required();
  auto* signal = ending->add_option("--signal", end->signal, "The signal that ended it")
                     ->check(CLI::Range(1, 64))
                     ->option_text("N");
  ending->add_option("--status", end->status, "Its exit status")
      ->check(CLI::Range(0, 255))
      ->option_text("N [0]")
      ->excludes(signal);
  ending->add_flag("--asked", end->asked, "It was wanted: nothing is to be explained");
  add(group, list);  // last: what is done where none of the others was named
  return verbs;
}

}  // namespace oomguard::tools
