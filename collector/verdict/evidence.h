// What is known of a process that is gone: from its flight file, from whoever saw its exit status,
// from the kernel's counters and its log. Plain values, so that the judgement (verdict.h) is a pure
// function of them.
//
// Thread-safety: no shared state. Callable from a hook: no (it allocates).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "collector/probe/reading.h"
#include "collector/record/ending.h"
#include "collector/record/reader.h"
#include "collector/verdict/kernel_log.h"

namespace oomguard::verdict {

// How much a counter grew between the last time that the process was seen and the first look after
// it; -1 where that cannot be told: not read, of another group or boot, or it went back.
struct Grown {
  int64_t kills = -1;
  int64_t hits = -1;
  int64_t group_kills = -1;
};

// A memory group of the process; the first is its own.
struct Level {
  probe::LimitKind kind = probe::LimitKind::kCgroupV2;
  std::string path;
  int64_t limit_bytes = INT64_MAX;
  Grown grown;
};

enum class Boot { kUnknown, kSame, kOther };

struct Evidence {
  int32_t pid = 0;
  bool running = false;
  record::EndState end_state = record::EndState::kRunning;
  std::optional<int> wait_status;
  int32_t sender_pid = 0;  // of the signal; 0 unknown
  std::string sender_name;
  Boot boot = Boot::kUnknown;  // of the look after the end, against the process's own
  std::vector<Level> levels;
  bool ancestors_hidden = false;
  int64_t machine_kills = -1;  // grown, as above
  int64_t machine_bytes = 0;   // MemTotal; 0 unknown
  std::optional<record::Sample> last;
  std::optional<record::Sample> lowest;  // the least memory in the minute before that
  int64_t unseen_ns = -1;       // from the last sample to the look after the end; -1 unknown
  bool reported_only = false;   // the newest refusal was granted and only recorded
  bool ended_by_guard = false;  // the newest one's outcome is Outcome::kEnded, or an option's:
  bool ended_by_option = false;
  std::string
      ended_because;  // then, where it is known: why nothing but the end was left; the option
  int oom_score_adj = 0;
  std::vector<std::string>
      killers;  // programs that run here and end others when the machine gets full
  int64_t killer_line_bytes = 0;  // of available memory, below which they act
  std::optional<LogEvent> log;    // the one that names this process
  bool in_pod = false;
};

// What is around the process, looked up once.
struct Surroundings {
  std::vector<LogEvent> log;
  std::vector<std::string> killers;
  int64_t killer_line_bytes = 0;
  int64_t machine_bytes = 0;
  bool in_pod = false;
  uint64_t pid_namespace = 0;
  bool first_pid_namespace = false;  // the log's numbers are this namespace's
};
Surroundings look_around();

// Kubernetes makes this file for the reason why a container ended.
inline constexpr const char* kTerminationLog = "/dev/termination-log";
// This process runs in a pod of Kubernetes.
bool is_pod();

// Whether the process is over, as far as can be seen from here: where it lives in another namespace
// of process ids its file is looked at, which it writes to twice a second.
bool is_over(const record::FlightHeader& header, uint64_t pid_namespace);

// `header` has its end (record::put_end), or the process runs. `samples` as Flight has them.
Evidence gather(const record::FlightHeader& header, const record::RefusalRecord* newest_refusal,
                const std::vector<record::Sample>& samples, const Surroundings& surroundings);

}  // namespace oomguard::verdict
