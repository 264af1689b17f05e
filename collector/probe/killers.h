// Other programs that end processes when the machine's memory gets low, long before the kernel
// would: earlyoom, nohang, systemd-oomd, oomd, and kubelet's eviction. A guard has to act above
// their line.
//
// Thread-safety: pure reading of /proc. Callable from a hook: no (milliseconds on a busy machine);
// from the raw thread: yes. A killer outside this pid namespace cannot be seen.
#pragma once

#include "collector/probe/reading.h"

namespace oomguard::probe {

// MemAvailable below which a program of this name acts with its default settings; 0 where the name
// is none of theirs. Pure. Sources: earlyoom(1) -m 10, nohang.conf soft_threshold_min_mem 5 %,
// oomd.conf(5) SwapUsedLimit 90 %, kubelet --eviction-hard memory.available<100Mi.
[[nodiscard]] Bytes killer_line(const char* comm, Bytes mem_total);

// The same of earlyoom with its arguments, words that each end with a NUL: -m PERCENT[,KILL] or
// -M KIBIBYTES[,KILL] move it. Pure.
[[nodiscard]] Bytes earlyoom_line(const char* arguments, size_t size, Bytes mem_total);

// The highest line of all processes in /proc.
[[nodiscard]] Bytes find_killer_line(Bytes mem_total);

}  // namespace oomguard::probe
