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

// A regular file of this user's; what it takes on the disk is in `bytes`.
bool is_own_file(int folder, const char* name, int64_t* bytes) {
  struct stat info{};
  if (::fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0) return false;
  *bytes = int64_t{info.st_blocks} * 512;
  return S_ISREG(info.st_mode) && info.st_uid == ::geteuid();
}

// Gives back what no record lies in; a file system that cannot do it keeps it. Returns how much.
int64_t give_back_unused(const SessionFile& session, const FlightHeader& header) {
  const int fd = ::open(session.path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  for (uint32_t i = static_cast<uint32_t>(Section::kTimeline) + 1; i < kSectionCount; ++i) {
    const SectionRecord& section = header.sections[i];
    const uint64_t used = std::min(section.used.load(), section.capacity);
    const uint64_t from = section.offset_bytes + used * section.record_bytes;
    const uint64_t end = section.offset_bytes + uint64_t{section.capacity} * section.record_bytes;
    ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(from),
                static_cast<off_t>(end - from));
  }
  struct stat info{};
  const int64_t now = ::fstat(fd, &info) == 0 ? int64_t{info.st_blocks} * 512 : session.disk_bytes;
  ::close(fd);
  return std::max<int64_t>(session.disk_bytes - now, 0);
}

// Fully reserved, as a process leaves it.
bool is_unshrunk(const SessionFile& session, const FlightHeader& header) {
  return session.disk_bytes >= static_cast<int64_t>(header.file_bytes);
}

bool is_uneventful(const FlightHeader& header) {
  const auto state = static_cast<EndState>(header.end_state.load());
  return !is_eventful(header) && state != EndState::kRunning && state != EndState::kEndedByRefusal;
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
    if (!is_own_file(::dirfd(dir.get()), entry->d_name, &session.disk_bytes)) continue;
    session.path = folder + "/" + entry->d_name;
    sessions.push_back(std::move(session));
  }
  std::sort(sessions.begin(), sessions.end(), [](const SessionFile& a, const SessionFile& b) {
    return a.start_seconds != b.start_seconds ? a.start_seconds > b.start_seconds : a.name > b.name;
  });
  return sessions;
}

Pruned prune_sessions(const std::string& directory, const Keep& keep) {
  const auto sessions = list_sessions(directory);
  if (!sessions) return {};
  const int64_t now = ::time(nullptr);
  Pruned pruned;
  size_t kept = 0;
  int64_t kept_bytes = 0;
  for (const SessionFile& session : *sessions) {
    const auto header = read_header(session.path);
    const bool running = header && is_running(**header);
    int64_t bytes = session.disk_bytes;
    if (header && !running && is_unshrunk(session, **header)) {
      const int64_t back = give_back_unused(session, **header);
      bytes -= back;
      pruned.bytes += back;
    }
    const bool old = now - session.start_seconds > keep.days * kSecondsPerDay;
    const bool more = kept >= keep.files || bytes > keep.bytes - kept_bytes;
    const bool goes = old || more || (header && is_uneventful(**header));
    if (!running && goes && ::unlink(session.path.c_str()) == 0) {
      ++pruned.files;
      pruned.bytes += bytes;
    } else {
      ++kept;
      kept_bytes += bytes;
    }
  }
  return pruned;
}

bool is_running(const SessionFile& session) {
  const auto header = read_header(session.path);
  return header && is_running(**header);
}

Result<int> remove_session(const SessionFile& session) {
  if (is_running(session)) {
    return Error{session.name + ": its process " + std::to_string(session.pid) + " is running", 1};
  }
  if (::unlink(session.path.c_str()) != 0) return Error{session.path + ": " + strerror(errno), 1};
  return 0;
}

}  // namespace oomguard::record
