#include "collector/record/sessions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <string_view>

#include "collector/record/reader.h"

namespace oomguard::record {
namespace {

constexpr std::string_view kSuffix = ".flight";
constexpr int64_t kSecondsPerDay = 86400;

// "1700000000-4242" or "1700000000-4242-1".
bool parse_name(std::string_view name, SessionFile* out) {
  const char* end = name.data() + name.size();
  const auto seconds = std::from_chars(name.data(), end, out->start_seconds);
  if (seconds.ec != std::errc{} || seconds.ptr == end || *seconds.ptr != '-') return false;
  const auto pid = std::from_chars(seconds.ptr + 1, end, out->pid);
  if (pid.ec != std::errc{} || out->pid <= 0 || out->start_seconds < 0) return false;
  if (pid.ptr == end) return true;
  return end - pid.ptr == 2 && pid.ptr[0] == '-' && pid.ptr[1] >= '1' && pid.ptr[1] <= '9';
}

bool is_own_file(int folder, const char* name) {
  struct stat info{};
  return ::fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
         info.st_uid == ::geteuid();
}

bool is_uneventful(const FlightHeader& header) {
  const auto state = static_cast<EndState>(header.end_state.load());
  return !is_eventful(header) && (state == EndState::kClean || state == EndState::kExecuted);
}

}  // namespace

Result<std::vector<SessionFile>> list_sessions(const std::string& directory) {
  const std::string folder = directory + "/sessions";
  std::vector<SessionFile> sessions;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), &::closedir);
  if (!dir) {
    if (errno == ENOENT) return sessions;
    return Error{folder + ": " + strerror(errno), 1};
  }
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view file = entry->d_name;
    if (file.size() <= kSuffix.size() || !file.ends_with(kSuffix)) continue;
    SessionFile session;
    session.name = file.substr(0, file.size() - kSuffix.size());
    if (!parse_name(session.name, &session)) continue;
    if (!is_own_file(::dirfd(dir.get()), entry->d_name)) continue;
    session.path = folder + "/" + entry->d_name;
    sessions.push_back(std::move(session));
  }
  std::sort(sessions.begin(), sessions.end(), [](const SessionFile& a, const SessionFile& b) {
    return a.start_seconds != b.start_seconds ? a.start_seconds > b.start_seconds : a.name > b.name;
  });
  return sessions;
}

size_t prune_sessions(const std::string& directory, const Keep& keep) {
  const auto sessions = list_sessions(directory);
  if (!sessions) return 0;
  const int64_t now = ::time(nullptr);
  size_t removed = 0;
  size_t kept = 0;
  for (const SessionFile& session : *sessions) {
    const auto header = read_header(session.path);
    const bool running = header && is_running(**header);
    const bool old = now - session.start_seconds > keep.days * kSecondsPerDay;
    const bool goes = old || kept >= keep.files || (header && is_uneventful(**header));
    if (!running && goes && ::unlink(session.path.c_str()) == 0) {
      ++removed;
    } else {
      ++kept;
    }
  }
  return removed;
}

}  // namespace oomguard::record
