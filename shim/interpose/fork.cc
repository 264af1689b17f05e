// fork where memory is short. While pages are lent a child would share them with its parent instead
// of copying them; and where next to nothing is left, what both write to next would be the kernel's
// reason to kill: nobody asks for those pages.
#include <errno.h>
#include <unistd.h>

#include <algorithm>

#include "collector/probe/process.h"
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

constexpr int64_t kFirstWrites = 1024 * 1024;  // stacks, heap tops, what both look at first
constexpr int64_t kPerPageTable = 512;         // pages that one page of a table maps
constexpr int64_t kPlenty = 256 * 1024 * 1024;

bool is_refused(const void* caller) noexcept {
  if (budget::gate.has_plenty_for(kPlenty)) return false;
  const int64_t tables = std::max<int64_t>(probe::own_memory(), 0) / kPerPageTable;
  const budget::Admission admission(record::RequestKind::kFork,
                                    static_cast<size_t>(tables + kFirstWrites), caller);
  return !admission.granted();
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
  if (oomguard::interpose::is_refused(__builtin_return_address(0))) {
    errno = ENOMEM;
    return -1;
  }
  if (oomguard::spill::active()) return oomguard::interpose::fork_while_lent();
  return oomguard::real.fork();
}
