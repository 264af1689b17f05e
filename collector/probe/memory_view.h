// The machine's memory as a process under limits should see it: what programs that size themselves
// read from /proc/meminfo, sysinfo and sysconf (docs/design.md "The view").
//
// Never more than the kernel says, and coherent: MemFree + Cached <= MemAvailable <= MemTotal.
// Thread-safety: pure functions. Callable from a hook: yes; no allocation, 1 KiB of stack.
#pragma once

#include <cstddef>

#include "collector/probe/reading.h"

namespace oomguard::probe {

// In bytes.
struct MemoryView {
  Bytes total = 0;
  Bytes available = 0;  // may be asked for without a refusal, from a page on
  Bytes free = 0;       // the same without file cache that would have to go
  Bytes swap_total = 0;
  Bytes swap_free = 0;

  Bytes in_use() const { return total - available; }
};

// `machine_total`: MemTotal; `kept`: what of the headroom is not to be had (the reserve, what
// others are about to fill). False where no limit but the machine's own applies: then the kernel's
// numbers hold.
[[nodiscard]] bool view_of(const Reading& reading, Bytes machine_total, Bytes kept,
                           uint32_t swap_share_permille, MemoryView* out);

// Lowers the numbers of /proc/meminfo's text in place, line by line; what has not the kernel's form
// stays as it is. Lines about address space and huge pages stay, too.
void lower_meminfo(char* text, size_t size, const MemoryView& view);

}  // namespace oomguard::probe
