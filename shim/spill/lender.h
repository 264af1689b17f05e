// Lending at the last moment (docs/watchdog.md "Lending"): memory that was granted earlier is being
// filled and there is no room left for it. The program's threads are stopped for some milliseconds,
// pages of large malloc blocks that hold nothing yet are put on a sparse unlinked file on a real
// disk, and the threads go on: what they touch from then on is page cache, which the kernel writes
// out instead of killing. It carries a program to its next bytecode, where the exception waits.
//
// What the program can notice: each stop is a signal, with the consequences of one. Calls that
// signal(7) lists as never restarted (poll, epoll_wait, nanosleep, ...) return EINTR; read, wait
// and locks go on. CPython repeats both kinds. A fork is refused with ENOMEM while more lent pages
// hold something than there is room for. A child made behind libc's back (clone, _Fork) shares lent
// pages.
//
// Thread-safety: each function names its callers. Nothing here allocates, throws or uses errno.
#pragma once

#include <cstdint>

#include "collector/options/options.h"
#include "shim/budget/lines.h"
#include "shim/spill/give_back.h"

namespace oomguard::spill {

using budget::Bytes;

enum class Outcome : uint32_t {
  kLent,        // some pages were lent; memory can be filled on
  kNothing,     // no block has pages that can be lent
  kNoDisk,      // obstacle() says why
  kNotStopped,  // a thread could not be stopped (all signals blocked and running)
  kAtCap,       // left() is used up
};

struct Result {
  Outcome outcome = Outcome::kNothing;
  Bytes lent = 0;           // address space that was moved to the file by this call
  Bytes copied = 0;         // of it, pages that held something and were copied
  Bytes scattered = 0;      // pages that hold nothing and stayed: a copy_budget would reach them
  uint32_t threads = 0;     // that were stopped
  int64_t stopped_ns = 0;   // how long they stood
  bool all = false;         // nothing that could be lent stayed
  bool held = false;        // they stand still
};

// At start, before the watchdog runs. `limit` is the binding limit (the default cap's second term).
void configure(const options::Values& values, Bytes limit) noexcept;

// From the watchdog's raw thread only. Moves the pages that hold nothing of every eligible block,
// and copies at most `copy_budget` bytes of pages between them that do hold something. With `hold`
// the threads stay stopped where nothing was lent (Result::held), until resume_all(): who ends the
// program then need not stop them a second time.
Result lend(Bytes copy_budget, bool hold = false) noexcept;
// From the watchdog's raw thread only, where there is room for it: one step of making pages private
// memory again, those that hold nothing and at most `pace.copies` of the others. Nothing where a
// fork is under way.
Returned give_back(const Pace& pace) noexcept;
// Each tick: answers a fork that waits and, while active(), gives disk space of freed blocks back,
// closes the file when none is left, reads what is in use. Costs one load where there is nothing to
// do. Giving space back may wait for the disk: not `in_haste`, as long as more is left than used;
// what was freed then counts as not in the file. From the raw thread only.
void tend(bool in_haste = false) noexcept;
// Why lend() could not work now, for the report; "" where it could. Looks for a directory when
// first asked (about a millisecond), and again ten seconds after it found none. From the raw thread
// only.
const char* obstacle() noexcept;

// Bytes of lent pages that were filled since they were lent, and everything in the file. As of the
// last tend(). Callable from a hook: yes.
Bytes touched() noexcept;
Bytes in_file() noexcept;
// What the file may still take before --spill-limit or the disk's free space ends it.
Bytes left() noexcept;

// Callable from a hook. One relaxed load.
bool active() noexcept;
// Something was lent since the process began: blocks may be known here. One relaxed load.
bool has_lent() noexcept;
// Some pages of the malloc block are lent, or came back in pieces: realloc must copy instead of
// growing the mapping.
bool is_lent(uintptr_t block) noexcept;
// The block is about to be freed: tend() gives its file space back.
void forget(uintptr_t block) noexcept;
// The block may be moved by its allocator, unless it is lent.
void forget_returned(uintptr_t block) noexcept;
// The range is about to be unmapped or replaced by the program itself.
void forget_range(uintptr_t address, uint64_t size) noexcept;

// Before a fork, from the thread that forks, while the watchdog runs: a child would share lent
// pages instead of copying them. `wake` wakes the raw thread, which makes untouched ones anonymous
// again and copies touched ones back, if `room` is enough for all of those. False: the fork must
// fail with ENOMEM. Nothing is lent from then on until fork_over(), in the parent, whatever the
// answer was.
bool give_back_for_fork(Bytes room, void (*wake)() noexcept) noexcept;
void fork_over() noexcept;
void on_fork_child() noexcept;

// Stops every other thread of the process and keeps them so until resume_all: for the end with a
// report. False: some could not be stopped (the others are). From the raw thread only.
bool stop_all(int64_t wait_ns) noexcept;
void resume_all() noexcept;

}  // namespace oomguard::spill
