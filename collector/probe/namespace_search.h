// Where is the own group, when the namespace changed and the mount did not?
//
// After unshare(CLONE_NEWCGROUP) without mounting again, /proc/self/cgroup says "/" and mountinfo
// gives the mount's root as "/../..": the group is two levels below the mount point, under names
// that no text tells. So the directories of that depth are searched for the one that lists the
// process.
// Thread-safety: one caller per buffer. Callable from a hook and from the raw thread: yes, but it
// may take milliseconds and 6 KiB of stack; it runs when groups are resolved.
#pragma once

#include <cstddef>

namespace oomguard::probe {

// `directory` (of kMaxPath bytes) holds the mount point; on success the group's directory, else it
// is unchanged. `depth`: levels to go down before `suffix` ("" or "/x/y") is appended.
[[nodiscard]] bool find_process_group(char* directory, int depth, const char* suffix, int pid);

}  // namespace oomguard::probe
