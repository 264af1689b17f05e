#include "tools/report/replaced.h"

#include <fcntl.h>
#include <unistd.h>

#include <ctime>
#include <nlohmann/json.hpp>

#include "collector/record/reader.h"
#include "collector/record/sessions.h"
#include "tools/command/exit_status.h"
#include "tools/report/death.h"
#include "tools/report/panel.h"

namespace oomguard::tools {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
// A notebook may be opened again days later; then nobody wonders where its variables are.
constexpr int64_t kNotebookNs = 24 * 3600 * kNsPerSecond;

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
  const Panel panel = make_panel(*flight, death);
  const nlohmann::json told = {{"text", panel.text}, {"html", panel.html}};
  return told.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace oomguard::tools
