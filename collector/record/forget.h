// Keeps the folder of sessions small where nobody runs the tools: processes that are ended by a
// signal leave their file behind, also when nothing ever happened in them.
//
// Only oomguard::sys calls, no allocation. Callable from a hook: no (milliseconds); from the
// watchdog's raw thread: yes. Any number of processes at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace oomguard::record {

// Removes the oldest files in `<directory>/sessions` whose process is gone and was never refused
// anything, until at most `keep` of those are left, with at most `keep_bytes` on the disk (they are
// the evidence of a death). Looks at 1,024 files at the most. Returns how many went.
size_t forget_uneventful(const char* directory, size_t keep, int64_t keep_bytes);

}  // namespace oomguard::record
