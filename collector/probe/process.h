// What a process of the same machine holds, and which processes share our memory group.
//
// For reports ("other processes in the group") and for the table of the group's members. A process
// may end while it is looked at: then nothing is answered, never half an answer.
// Thread-safety: any number of callers. Callable from a hook and from the raw thread: yes; at most
// 1 KiB of stack.
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/probe.h"

namespace oomguard::probe {

struct ProcessStatus {
  int32_t pid = 0;
  int32_t parent_pid = 0;
  char state = '?';           // R, S, D, Z, ... as in /proc/PID/stat
  char comm[16] = "";         // zero-terminated; bytes below blank are shown as '?'
  int32_t exit_status = 0;    // as wait answers it; 0 while the process lives or where it is hidden
  uint64_t start_ticks = 0;   // since boot; with the pid a name that is not given twice
  Bytes resident = 0;         // VmRSS
  Bytes resident_anonymous = 0;  // RssAnon
};

// `pid` 0 is the caller's own process. False where there is no such process (any more).
[[nodiscard]] bool read_status(int pid, ProcessStatus* out);

// The arguments of a process, each ended by a NUL, cut at `size`. Returns their length or -errno.
long read_arguments(int pid, char* buffer, size_t size);

// RssAnon and RssShmem of the caller's own process: the memory that only it can give back. -1 where
// it cannot be read. Opens /proc/self/status, which takes kernel memory that the group is charged
// for.
[[nodiscard]] Bytes own_memory();

// Threads of the caller's own process, 0 where it cannot be read.
[[nodiscard]] uint32_t count_threads();

// How much of the caller's own memory other processes have mapped too. A page that n processes map
// counts an nth in a share.
struct MemoryShares {
  Bytes anonymous = 0;        // RssAnon
  Bytes anonymous_share = 0;
  Bytes shmem = 0;            // RssShmem
  Bytes shmem_share = 0;
  Bytes shared_dirty = 0;     // written pages, of whatever kind, that others map too
};

// Walks every page table: 8 ms for each GiB of small pages. False where the kernel does not tell
// (before Linux 5.3).
[[nodiscard]] bool read_shares(MemoryShares* out);

// Process ids in the group that holds the probe's process: its innermost memory group, or its own
// directory where the memory controller begins above it. Returns how many were written; those
// beyond `capacity` are left out.
size_t list_group(const Probe& probe, int32_t* pids, size_t capacity);

}  // namespace oomguard::probe
