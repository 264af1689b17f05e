// fork while pages are lent: a child would share them with its parent instead of copying them.
#include <errno.h>
#include <unistd.h>

#include "shim/budget/gate.h"
#include "shim/budget/watchdog.h"
#include "shim/interpose/export.h"
#include "shim/interpose/real.h"
#include "shim/spill/lender.h"

namespace oomguard::interpose {
namespace {

// What copying touched pages back may take.
budget::Bytes room_for_copies() noexcept {
  probe::Reading reading;
  probe::Headroom headroom;
  const int64_t now_ns = budget::program_now_ns();
  if (!budget::gate.look(probe::Depth::kFull, now_ns, &reading, &headroom)) return 0;
  return headroom.bytes - budget::gate.reserve() / 2;
}

[[gnu::cold, gnu::noinline]] pid_t fork_while_lent() noexcept {
  const pid_t self = getpid();
  const bool ready = spill::give_back_for_fork(room_for_copies(), budget::watchdog::wake);
  const pid_t child = ready ? real.fork() : -1;
  if (getpid() == self) spill::fork_over();
  if (!ready) errno = ENOMEM;
  return child;
}

}  // namespace
}  // namespace oomguard::interpose

OOMGUARD_EXPORT pid_t fork() noexcept {
  oomguard::interpose::ensure_resolved();
  if (oomguard::spill::active()) return oomguard::interpose::fork_while_lent();
  return oomguard::real.fork();
}
