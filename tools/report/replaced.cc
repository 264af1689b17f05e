#include "tools/report/replaced.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "collector/probe/process.h"
#include "collector/record/reader.h"
#include "collector/record/sessions.h"
#include "tools/command/exit_status.h"
#include "tools/report/death.h"
#include "tools/report/page_text.h"
#include "tools/report/panel.h"
#include "tools/report/pod.h"

namespace oomguard::tools {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
// A notebook may be opened again days later; then nobody wonders where its variables are.
constexpr int64_t kNotebookNs = 24 * 3600 * kNsPerSecond;

// A kernel is replaced within seconds; by the times of its file it may have been written to last
// half a minute earlier.
constexpr int64_t kReplacedSeconds = 60;

struct Replaced {
  std::string path;
  bool same_connection = false;
  std::string unreadable;  // why a file cannot be read that may be the one
};

// Its process is gone, and was there until that moment, about.
bool ended_about(const record::SessionFile& session, int64_t seconds) {
  struct stat info{};
  probe::ProcessStatus status;
  return !probe::read_status(session.pid, &status) && ::stat(session.path.c_str(), &info) == 0 &&
         info.st_mtime >= seconds - kReplacedSeconds;
}

// The newest kernel with that key that runs no more. Who asks is the parent of this process.
Replaced find(const std::string& directory, const std::string& connection) {
  Replaced found;
  const auto sessions = record::list_sessions(directory);
  if (!sessions) return found;
  const auto asker = std::ranges::find(*sessions, ::getppid(), &record::SessionFile::pid);
  const int64_t asker_seconds = asker != sessions->end() ? asker->start_seconds : INT64_MAX;
  std::string notebook;
  for (const record::SessionFile& session : *sessions) {
    const auto header = record::read_header(session.path);
    if (!header) {
      // Its own may be one that this command is too old or too new for.
      const bool own = session.start_seconds == asker_seconds && session.pid == ::getppid();
      const bool matters = own || ended_about(session, asker_seconds);
      if (found.unreadable.empty() && matters) found.unreadable = header.error().message;
      continue;
    }
    if ((*header)->is_kernel == 0) continue;
    const bool same = connection == (*header)->connection_file;
    if (record::is_running(**header)) {
      if (same) notebook = (*header)->notebook;
    } else if (same || (!notebook.empty() && notebook == (*header)->notebook)) {
      found.path = session.path;
      found.same_connection = same;
      if (same && ended_about(session, asker_seconds)) found.unreadable.clear();
      break;
    }
  }
  return found;
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
          death.verdict.kind == verdict::Kind::kEndedByGuard ||
          death.verdict.kind == verdict::Kind::kCrashed);
}

// What oomguard said of its end is in its server's log, where nobody looks.
bool is_to_tell(const Death& death) {
  return death.is_to_explain() || death.verdict.kind == verdict::Kind::kEndedByGuard ||
         death.verdict.kind == verdict::Kind::kRefused;
}

bool is_recent(const Death& death) {
  return int64_t{::time(nullptr)} * kNsPerSecond - death.at_realtime_ns < kNotebookNs;
}

// The kernel's parent is its server, whose output is the container's log. The reason why a
// container ended is told where the kernel was in this one.
void tell_pod(const record::Flight& flight, const Death& death, bool this_container) {
  const std::string notebook = notebook_of(flight.header());
  const std::string line = "oomguard: kernel" + (notebook.empty() ? "" : " of " + notebook) + " " +
                           death.what + " at " + time_of_day(death.at_realtime_ns) + ". " +
                           shown(death.cause_without_paths) + "\n";
  if (this_container) put_in_termination_log(line);
  probe::ProcessStatus kernel;
  if (probe::read_status(::getppid(), &kernel)) put_in_log_of(kernel.parent_pid, line);
}

std::string as_json(const nlohmann::json& told) {
  return told.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<std::string> replaced_kernel(const std::string& directory, const std::string& connection) {
  const Replaced replaced = find(directory, connection);
  Result<std::string> nothing = Error{"no kernel died before " + connection, kFailed};
  if (!replaced.unreadable.empty()) {
    nothing = as_json({{"line", "oomguard: why an earlier kernel ended cannot be told: " +
                                    shown(replaced.unreadable)}});
  }
  if (replaced.path.empty()) return nothing;
  const auto flight = record::read_flight(replaced.path);
  if (!flight || flight->header().end.told != 0) return nothing;
  const Death death = explain_death(*flight);
  remember_told(replaced.path);
  if (!is_to_tell(death)) return nothing;
  // The same notebook of another server: nobody may be surprised that the old kernel is gone.
  if (!replaced.same_connection && !(is_out_of_memory_or_crash(death) && is_recent(death))) {
    return nothing;
  }
  tell_pod(*flight, death, replaced.same_connection);
  const Panel panel = make_panel(*flight, death);
  return as_json({{"text", panel.text}, {"html", panel.html}});
}

}  // namespace oomguard::tools
