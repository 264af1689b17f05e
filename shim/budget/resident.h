// Keeps in memory what the watchdog runs on. A group at its limit drops the pages of mapped files,
// code that runs among them, and whoever touches such a page next is charged for it: a watchdog
// that wakes in a full group would call the OOM killer over a page of its own code, and where a
// process is just dying of its growth (out of the list of processes, its pages not yet uncharged)
// the kernel finds this one. Locks are not inherited by fork's child: its own watchdog makes them
// again. One thread's (the raw thread's). Callable from the raw thread: yes, and from nowhere else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::budget::resident {

// mlock2(2) with MLOCK_ONFAULT over every segment of this library that is not written to, about 256
// KiB; a page counts once it was used. Where the kernel or RLIMIT_MEMLOCK does not allow it nothing
// changes.
void keep_code() noexcept;

// The same for the pages of a mapping, in memory from now on. False: they may be dropped.
bool keep(const void* address, size_t size) noexcept;
// So many bytes of those are mapped no longer.
void lost(int64_t bytes) noexcept;

// Bytes of VmLck in /proc/PID/status that are due to these, since the last keep_code.
int64_t kept_bytes() noexcept;

}  // namespace oomguard::budget::resident
