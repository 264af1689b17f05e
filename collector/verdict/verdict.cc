#include "collector/verdict/verdict.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>

namespace oomguard::verdict {
namespace {

constexpr int64_t kNearBytes = int64_t{64} << 20;
constexpr int64_t kNearShare = 8;  // of the limit
constexpr int64_t kSoonNs = 10'000'000'000;

int signal_of(const Evidence& evidence) {
  return evidence.wait_status && WIFSIGNALED(*evidence.wait_status)
             ? WTERMSIG(*evidence.wait_status)
             : 0;
}

bool is_fault(int signal) {
  constexpr std::array kFaults{SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
  return std::ranges::find(kFaults, signal) != kFaults.end();
}

// When it was seen last there was little room to some limit.
bool was_near(const Evidence& evidence) {
  if (!evidence.last || evidence.last->limit_bytes == INT64_MAX) return false;
  const int64_t limit = evidence.last->limit_bytes;
  return evidence.last->headroom_bytes < std::max(limit / kNearShare, kNearBytes);
}

bool was_seen_lately(const Evidence& evidence) {
  return evidence.unseen_ns >= 0 && evidence.unseen_ns < kSoonNs;
}

// The limit that had the least room at the last sample is this one's, and no other's.
bool bound_last(const Evidence& evidence, size_t index) {
  if (!evidence.last || evidence.last->limit_bytes == INT64_MAX) return false;
  const int64_t limit = evidence.last->limit_bytes;
  size_t same = evidence.machine_bytes == limit ? 1 : 0;
  for (const Level& level : evidence.levels) same += level.limit_bytes == limit ? 1 : 0;
  return same == 1 && evidence.levels[index].limit_bytes == limit;
}

// Who ran into a limit: one level, several, none, or nobody can tell.
struct Limits {
  std::vector<size_t> hit;
  bool all_known = true;
};
Limits limits_hit(const Evidence& evidence) {
  Limits limits;
  for (size_t i = 0; i < evidence.levels.size(); ++i) {
    const Level& level = evidence.levels[i];
    if (level.limit_bytes == INT64_MAX) continue;
    if (level.grown.hits < 0) limits.all_known = false;
    if (level.grown.hits > 0) limits.hit.push_back(i);
  }
  return limits;
}

// The limit that was seen to have the least room, among those whose counters do not tell.
int unknown_that_bound(const Evidence& evidence) {
  for (size_t i = 0; i < evidence.levels.size(); ++i) {
    if (evidence.levels[i].grown.hits < 0 && was_near(evidence) && bound_last(evidence, i)) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

Kind above(const Evidence& evidence) {
  return evidence.ancestors_hidden ? Kind::kHiddenLimit : Kind::kMachine;
}

// The kernel killed for want of memory: where?
void find_level(const Evidence& evidence, Verdict* verdict) {
  const Limits limits = limits_hit(evidence);
  verdict->kind = Kind::kGroupLimit;
  for (const size_t index : limits.hit) {
    const bool bound = bound_last(evidence, index);
    if (limits.hit.size() > 1 && !bound) continue;
    verdict->level = static_cast<int>(index);
    // A group of version 1 may have come near its limit with what could be given back.
    if (evidence.levels[index].kind == probe::LimitKind::kCgroupV1 && !bound) {
      verdict->or_kind = above(evidence);
    }
    return;
  }
  if (!limits.hit.empty()) return;  // one of several
  verdict->level = unknown_that_bound(evidence);
  if (verdict->level >= 0) return;
  if (limits.all_known || evidence.ancestors_hidden) {
    verdict->kind = above(evidence);
  } else {
    verdict->or_kind = Kind::kMachine;
  }
}

int level_of_group(const Evidence& evidence, const std::string& group) {
  for (size_t i = 0; i < evidence.levels.size(); ++i) {
    const std::string& path = evidence.levels[i].path;
    if (group.size() > 1 && path.ends_with(group)) return static_cast<int>(i);
  }
  return -1;
}

Verdict from_log(const Evidence& evidence) {
  const LogEvent& event = *evidence.log;
  Verdict verdict;
  verdict.confidence = Confidence::kCertain;
  verdict.kills = 1;
  verdict.kind = event.machine ? Kind::kMachine : Kind::kGroupLimit;
  if (event.machine || event.group.empty()) return verdict;
  verdict.level = level_of_group(evidence, event.group);
  if (verdict.level < 0) verdict.kind = Kind::kHiddenLimit;
  return verdict;
}

// earlyoom and its kind send SIGTERM or SIGKILL while the machine has some memory left.
bool is_policy(const Evidence& evidence) {
  return !evidence.killers.empty() && evidence.last && evidence.machine_bytes > 0 &&
         evidence.last->limit_bytes == evidence.machine_bytes &&
         evidence.last->headroom_bytes < evidence.killer_line_bytes + evidence.machine_bytes / 50;
}

// SIGKILL, or nobody saw how it ended. `group`: the processes of its own group that the kernel
// ended.
Verdict judge_counters(const Evidence& evidence, bool killed, int64_t group) {
  Verdict verdict;
  verdict.kills = group;
  find_level(evidence, &verdict);
  const bool whole = std::ranges::any_of(
      evidence.levels, [](const Level& level) { return level.grown.group_kills > 0; });
  const bool near = whole || was_near(evidence);
  if (killed && (near || was_seen_lately(evidence))) {
    verdict.confidence = near ? Confidence::kVeryLikely : Confidence::kProbable;
  } else if (near && was_seen_lately(evidence)) {
    verdict.confidence = Confidence::kVeryLikely;
  } else if (killed || near) {
    verdict.confidence = Confidence::kProbable;
  } else {
    verdict.or_kind = Kind::kSomebody;  // the one that was counted may have been another process
  }
  return verdict;
}

// Nothing of its own group is known: what is there is the machine's counter and the last sample.
Verdict judge_without_group(const Evidence& evidence, bool killed) {
  Verdict verdict;
  if (evidence.boot == Boot::kOther || (evidence.machine_kills < 0 && !was_near(evidence)))
    return verdict;
  if (evidence.machine_kills == 0) {
    verdict.kind = Kind::kSomebody;
    if (!killed) verdict.or_kind = Kind::kCrashed;
    verdict.confidence = killed ? Confidence::kVeryLikely : Confidence::kNone;
    return verdict;
  }
  verdict.kills = std::max<int64_t>(evidence.machine_kills, 0);
  verdict.kind = Kind::kMachine;
  for (size_t i = 0; i < evidence.levels.size(); ++i) {
    if (!was_near(evidence) || !bound_last(evidence, i)) continue;
    verdict.kind = Kind::kGroupLimit;
    verdict.level = static_cast<int>(i);
  }
  if (verdict.level < 0 && evidence.ancestors_hidden) verdict.kind = Kind::kHiddenLimit;
  if (was_near(evidence) && evidence.machine_kills > 0) {
    verdict.confidence = killed ? Confidence::kVeryLikely : Confidence::kProbable;
  } else {
    verdict.or_kind = Kind::kSomebody;
  }
  return verdict;
}

Verdict judge_kill(const Evidence& evidence, bool killed) {
  if (evidence.log && evidence.log->kind == LogEvent::Kind::kOutOfMemory) return from_log(evidence);
  if (!killed && evidence.log) return {Kind::kCrashed, Kind::kUnknown, Confidence::kCertain};
  const int64_t group = evidence.levels.empty() ? -1 : evidence.levels.front().grown.kills;
  if (group > 0) return judge_counters(evidence, killed, group);
  if (group < 0) return judge_without_group(evidence, killed);
  Verdict verdict{Kind::kSomebody};
  if (is_policy(evidence)) {
    verdict.kind = Kind::kPolicy;
    verdict.confidence = killed ? Confidence::kVeryLikely : Confidence::kProbable;
  } else if (killed) {
    verdict.confidence = Confidence::kVeryLikely;
  } else {
    verdict.or_kind = Kind::kCrashed;
  }
  return verdict;
}

Verdict judge_signal(const Evidence& evidence, int signal) {
  if (signal == SIGKILL) return judge_kill(evidence, true);
  if (is_fault(signal)) return {Kind::kCrashed, Kind::kUnknown, Confidence::kCertain};
  if (signal == SIGTERM && evidence.sender_pid == 0 && is_policy(evidence)) {
    return {Kind::kPolicy, Kind::kUnknown, Confidence::kProbable};
  }
  return {Kind::kSomebody, Kind::kUnknown, Confidence::kCertain};
}

}  // namespace

Verdict judge(const Evidence& evidence) {
  if (evidence.running) return {Kind::kRunning, Kind::kUnknown, Confidence::kCertain};
  const int signal = signal_of(evidence);
  if (signal != 0 && evidence.end_state != record::EndState::kAsked) {
    return judge_signal(evidence, signal);
  }
  switch (evidence.end_state) {
    case record::EndState::kEndedByRefusal:
      return {evidence.ended_by_guard ? Kind::kEndedByGuard : Kind::kRefused, Kind::kUnknown,
              Confidence::kCertain};
    case record::EndState::kExecuted:
      if (!evidence.wait_status) return {Kind::kExecuted, Kind::kUnknown, Confidence::kCertain};
      break;
    case record::EndState::kRunning:
      if (!evidence.wait_status) return judge_kill(evidence, false);
      break;
    case record::EndState::kClean:
    case record::EndState::kExited:
    case record::EndState::kAsked:
      break;
  }
  return {Kind::kClean, Kind::kUnknown, Confidence::kCertain};
}

bool is_out_of_memory(Kind kind) {
  return kind == Kind::kGroupLimit || kind == Kind::kHiddenLimit || kind == Kind::kMachine;
}

bool is_about_memory(const Evidence& evidence, const Verdict& verdict) {
  const bool of_its_own = verdict.kind == Kind::kSomebody || verdict.kind == Kind::kCrashed;
  return !of_its_own || is_out_of_memory(verdict.or_kind) || was_near(evidence);
}

const char* kind_name(Kind kind) {
  static constexpr const char* kNames[] = {
      "running",      "clean",   "executed", "refused",  "ended_by_oomguard", "group_limit",
      "hidden_limit", "machine", "policy",   "somebody", "crashed",           "unknown"};
  return kNames[static_cast<size_t>(kind)];
}

const char* confidence_name(Confidence confidence) {
  static constexpr const char* kNames[] = {"none", "probable", "very_likely", "certain"};
  return kNames[static_cast<size_t>(confidence)];
}

}  // namespace oomguard::verdict
