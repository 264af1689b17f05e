// What the kernel's log says about processes that it ended, or that ended by a fault of their own.
//
// Tolerant by intent: the log is cut off at both ends, lines of several CPUs are mixed, its forms
// differ by version, and names in it may be anything. A line of no known form is skipped.
// Thread-safety: no shared state. Callable from a hook: no (it allocates).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace oomguard::verdict {

struct LogEvent {
  enum class Kind { kOutOfMemory, kFault };
  Kind kind = Kind::kOutOfMemory;
  int64_t at_ns =
      -1;  // since the start of the machine, by a clock close to CLOCK_MONOTONIC; -1 unknown
  int32_t pid = 0;       // as the machine itself numbers processes
  std::string name;      // of the thread that it names, at most 15 bytes
  std::string group;     // whose limit it was, below the mount point; "" the machine, or a fault
  bool machine = false;  // out of memory: nobody's limit
  bool whole_group = false;
  std::string fault;   // "segmentation fault", "general protection fault", "invalid instruction"
  std::string module;  // where the fault was; "" unknown
};

// Oldest first. `text`: lines as dmesg, klogctl(2) and /dev/kmsg give them.
std::vector<LogEvent> parse_kernel_log(std::string_view text);

// The whole log, "" where it may not be read (dmesg_restrict).
std::string read_kernel_log();

}  // namespace oomguard::verdict
