// Hooks of the calls that change who a process is, or which namespaces it is in. libc tells its own
// threads about new credentials; the watchdog's raw thread it does not know, and the kernel refuses
// some of these calls while there is a second thread. So the watchdog is stopped around them.
#include <grp.h>
#include <sched.h>
#include <unistd.h>

#include "shim/budget/watchdog.h"
#include "shim/interpose/export.h"
#include "shim/interpose/real.h"

namespace oomguard::interpose {
namespace {

class WatchdogPause {
 public:
  WatchdogPause() noexcept {
    ensure_resolved();
    budget::watchdog::pause();
  }
  ~WatchdogPause() { budget::watchdog::resume(); }
  WatchdogPause(const WatchdogPause&) = delete;
  WatchdogPause& operator=(const WatchdogPause&) = delete;
};

}  // namespace
}  // namespace oomguard::interpose

using oomguard::real;
using oomguard::interpose::WatchdogPause;

OOMGUARD_EXPORT int setuid(uid_t user) noexcept {
  const WatchdogPause pause;
  return real.setuid(user);
}

OOMGUARD_EXPORT int setgid(gid_t group) noexcept {
  const WatchdogPause pause;
  return real.setgid(group);
}

OOMGUARD_EXPORT int seteuid(uid_t user) noexcept {
  const WatchdogPause pause;
  return real.seteuid(user);
}

OOMGUARD_EXPORT int setegid(gid_t group) noexcept {
  const WatchdogPause pause;
  return real.setegid(group);
}

OOMGUARD_EXPORT int setreuid(uid_t user, uid_t effective) noexcept {
  const WatchdogPause pause;
  return real.setreuid(user, effective);
}

OOMGUARD_EXPORT int setregid(gid_t group, gid_t effective) noexcept {
  const WatchdogPause pause;
  return real.setregid(group, effective);
}

OOMGUARD_EXPORT int setresuid(uid_t user, uid_t effective, uid_t saved) noexcept {
  const WatchdogPause pause;
  return real.setresuid(user, effective, saved);
}

OOMGUARD_EXPORT int setresgid(gid_t group, gid_t effective, gid_t saved) noexcept {
  const WatchdogPause pause;
  return real.setresgid(group, effective, saved);
}

OOMGUARD_EXPORT int setgroups(size_t count, const gid_t* groups) noexcept {
  const WatchdogPause pause;
  return real.setgroups(count, groups);
}

OOMGUARD_EXPORT int unshare(int flags) noexcept {
  const WatchdogPause pause;
  return real.unshare(flags);
}

OOMGUARD_EXPORT int setns(int fd, int kind) noexcept {
  const WatchdogPause pause;
  return real.setns(fd, kind);
}
