#include "collector/record/forget.h"

#include <errno.h>

#include <cstdint>

#include "collector/probe/directory.h"
#include "collector/record/flight.h"

namespace oomguard::record {
namespace {

constexpr size_t kLookedAt = 1024;

struct Found {
  int64_t seconds;
  int64_t bytes;  // on the disk
  char name[40];
};
// One caller at a time in a process: the watchdog.
constinit Found g_found[kLookedAt] = {};

bool number(const char** at, int64_t* out) {
  const char* start = *at;
  *out = 0;
  for (; **at >= '0' && **at <= '9' && *at - start < 12; ++*at) *out = *out * 10 + (**at - '0');
  return *at != start;
}

// "<seconds>-<pid>.flight", or "<seconds>-<pid>-<number>.flight" (sessions.cc reads the same).
bool parse(const char* name, int64_t* seconds, int64_t* pid) {
  const char* at = name;
  if (!number(&at, seconds) || *at++ != '-' || !number(&at, pid)) return false;
  int64_t again;
  if (*at == '-' && (++at, !number(&at, &again))) return false;
  for (const char* c = ".flight"; *c != '\0'; ++c) {
    if (*at++ != *c) return false;
  }
  return *at == '\0';
}

bool uneventful(int folder, const char* name, int64_t* bytes) {
  const long fd =
      sys::call(SYS_openat, folder, sys::as_arg(name), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  alignas(FlightHeader) char header[offsetof(FlightHeader, refusals) + sizeof(uint64_t)];
  const bool whole = sys::pread(static_cast<int>(fd), header, sizeof header, 0) ==
                     static_cast<long>(sizeof header);
  uint64_t warnings = 0;
  sys::pread(static_cast<int>(fd), &warnings, sizeof warnings, offsetof(FlightHeader, reread));
  struct stat info;
  *bytes = sys::fstat(static_cast<int>(fd), &info) == 0 ? int64_t{info.st_blocks} * 512 : 0;
  sys::close(static_cast<int>(fd));
  if (!whole || warnings != 0) return false;
  for (size_t i = 0; i < sizeof kMagic; ++i) {
    if (header[i] != kMagic[i]) return false;
  }
  for (size_t i = offsetof(FlightHeader, refusals); i < sizeof header; ++i) {
    if (header[i] != 0) return false;
  }
  return true;
}

void note(int folder, const char* name, size_t* count) {
  int64_t seconds;
  int64_t pid;
  int64_t bytes;
  if (*count == kLookedAt || !parse(name, &seconds, &pid)) return;
  if (sys::call(SYS_kill, static_cast<long>(pid), 0) != -ESRCH) return;
  if (!uneventful(folder, name, &bytes)) return;
  Found& found = g_found[(*count)++];
  found.seconds = seconds;
  found.bytes = bytes;
  size_t length = 0;
  for (; name[length] != '\0' && length + 1 < sizeof found.name; ++length) {
    found.name[length] = name[length];
  }
  found.name[length] = '\0';
}

size_t remove_oldest(int folder, size_t count, size_t keep, int64_t keep_bytes) {
  size_t removed = 0;
  int64_t bytes = 0;
  for (size_t i = 0; i < count; ++i) bytes += g_found[i].bytes;
  for (; count > keep || (count > 0 && bytes > keep_bytes); --count) {
    size_t oldest = 0;
    for (size_t i = 1; i < count; ++i) {
      if (g_found[i].seconds < g_found[oldest].seconds) oldest = i;
    }
    if (sys::call(SYS_unlinkat, folder, sys::as_arg(g_found[oldest].name), 0) == 0) ++removed;
    bytes -= g_found[oldest].bytes;
    g_found[oldest] = g_found[count - 1];
  }
  return removed;
}

}  // namespace

size_t forget_uneventful(const char* directory, size_t keep, int64_t keep_bytes) {
  char path[400];
  size_t length = 0;
  for (const char* part : {directory, "/sessions"}) {
    for (; *part != '\0' && length + 1 < sizeof path; ++part) path[length++] = *part;
  }
  path[length] = '\0';
  const int folder = sys::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (folder < 0) return 0;
  size_t count = 0;
  sys::for_each_entry(folder, [&](const char* name) { note(folder, name, &count); });
  const size_t removed = remove_oldest(folder, count, keep, keep_bytes);
  sys::close(folder);
  return removed;
}

}  // namespace oomguard::record
