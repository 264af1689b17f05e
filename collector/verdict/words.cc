#include "collector/verdict/words.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "collector/record/text_parts.h"

namespace oomguard::verdict {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kSecond = 1'000'000'000;

struct SignalName {
  int number;
  const char* name;
  const char* meaning;
};
constexpr SignalName kSignals[] = {{SIGSEGV, "SIGSEGV", "segmentation fault"},
                                   {SIGBUS, "SIGBUS", "bus error"},
                                   {SIGILL, "SIGILL", "invalid instruction"},
                                   {SIGFPE, "SIGFPE", "arithmetic error"},
                                   {SIGABRT, "SIGABRT", "it aborted itself"},
                                   {SIGTRAP, "SIGTRAP", "breakpoint"},
                                   {SIGSYS, "SIGSYS", "a forbidden system call"},
                                   {SIGKILL, "SIGKILL", ""},
                                   {SIGTERM, "SIGTERM", ""},
                                   {SIGINT, "SIGINT", ""},
                                   {SIGHUP, "SIGHUP", ""},
                                   {SIGQUIT, "SIGQUIT", ""},
                                   {SIGPIPE, "SIGPIPE", ""},
                                   {SIGXCPU, "SIGXCPU", "ulimit -t"},
                                   {SIGXFSZ, "SIGXFSZ", "ulimit -f"},
                                   {SIGUSR1, "SIGUSR1", ""},
                                   {SIGUSR2, "SIGUSR2", ""},
                                   {SIGALRM, "SIGALRM", ""}};

const SignalName* find_signal(int number) {
  const auto* at = std::ranges::find(kSignals, number, &SignalName::number);
  return at != std::end(kSignals) ? at : nullptr;
}

int signal_of(const Evidence& evidence) {
  return evidence.wait_status && WIFSIGNALED(*evidence.wait_status)
             ? WTERMSIG(*evidence.wait_status)
             : 0;
}

// Names come from the kernel and may hold anything.
std::string plain(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return text;
}

record::Unit unit_of(const Evidence& evidence) {
  int64_t limit = evidence.last ? evidence.last->limit_bytes : INT64_MAX;
  for (const Level& level : evidence.levels) limit = std::min(limit, level.limit_bytes);
  return limit < kGiB ? record::Unit{kMiB, "MiB"} : record::Unit{kGiB, "GiB"};
}

std::string size_of(record::Unit unit, int64_t bytes) {
  char text[48];
  record::LineBuffer line(text, sizeof text);
  record::put_bytes(&line, unit, bytes);
  line.end_line();
  const size_t length = line.finish();
  return length > 0 ? std::string(text, length - 1) : "";
}

std::string amount_of(record::Unit unit, int64_t bytes) {
  const std::string size = size_of(unit, bytes);
  return size.substr(0, size.rfind(' '));
}

// "0.4 s", "9 s", "3 min".
std::string duration(int64_t ns) {
  char text[32];
  if (ns < 10 * kSecond) {
    snprintf(text, sizeof text, "%.1f s", static_cast<double>(ns) / kSecond);
  } else if (ns < 120 * kSecond) {
    snprintf(text, sizeof text, "%lld s", static_cast<long long>(ns / kSecond));
  } else {
    snprintf(text, sizeof text, "%lld min", static_cast<long long>(ns / (60 * kSecond)));
  }
  return text;
}

std::string sureness(Confidence confidence) {
  switch (confidence) {
    case Confidence::kCertain:
      return "Out of memory";
    case Confidence::kVeryLikely:
      return "Very likely out of memory";
    case Confidence::kProbable:
      return "Probably out of memory";
    case Confidence::kNone:
      break;
  }
  return "Perhaps out of memory";
}

std::string limit_of(const Level& level, record::Unit unit, bool paths) {
  const std::string size = size_of(unit, level.limit_bytes);
  return paths ? size + " (" + plain(level.path) + ")" : size;
}

std::string several_limits(const Evidence& evidence, record::Unit unit, bool paths) {
  std::string text;
  for (const Level& level : evidence.levels) {
    if (level.limit_bytes == INT64_MAX) continue;
    text += (text.empty() ? "" : ", or ") + limit_of(level, unit, paths);
  }
  return text.empty() ? "a container limit" : "a container limit, " + text;
}

std::string where(const Evidence& evidence, const Verdict& verdict, record::Unit unit, bool paths) {
  switch (verdict.kind) {
    case Kind::kGroupLimit: {
      if (verdict.level < 0) return several_limits(evidence, unit, paths);
      const Level& level = evidence.levels[static_cast<size_t>(verdict.level)];
      return "container limit " + limit_of(level, unit, paths);
    }
    case Kind::kHiddenLimit:
      return "a limit above this container, which cannot be seen from inside, or the whole machine";
    default:
      return evidence.machine_bytes > 0
                 ? "this machine's memory, " + size_of({kGiB, "GiB"}, evidence.machine_bytes) +
                       ", was full"
                 : "this machine's memory was full";
  }
}

std::string out_of_memory(const Evidence& evidence, const Verdict& verdict, bool paths) {
  const record::Unit unit = unit_of(evidence);
  std::string text = sureness(verdict.confidence) + ": " + where(evidence, verdict, unit, paths);
  if (evidence.last) {
    text += ", last seen " + size_of(unit, evidence.last->needed_bytes) + " in use";
    if (evidence.wait_status && evidence.unseen_ns >= 0)
      text += " " + duration(evidence.unseen_ns) + " earlier";
  }
  if (evidence.log) {
    text += ", and the kernel's log names it";
  } else if (verdict.kills > 0) {
    text += verdict.kills == 1 ? ", one kill counted"
                               : ", " + std::to_string(verdict.kills) + " kills counted";
  }
  text += ".";
  if (verdict.or_kind == Kind::kMachine)
    text += " Or the whole machine was full: that cannot be told apart.";
  if (verdict.or_kind == Kind::kHiddenLimit) {
    text += " Or it was a limit above this container, which cannot be seen from inside.";
  }
  if (verdict.or_kind == Kind::kSomebody) {
    text +=
        " Or somebody killed it, or it crashed: what was counted may be another process, and "
        "nobody saw "
        "its exit status.";
  }
  return text;
}

std::string by_somebody(const Evidence& evidence, const Verdict& verdict) {
  const int signal = signal_of(evidence);
  if (verdict.or_kind == Kind::kCrashed) {
    return "It crashed, or somebody killed it: that cannot be told apart, since nobody saw its "
           "exit status. "
           "It was not the kernel for want of memory, which counted no such kill.";
  }
  std::string text = signal == SIGKILL ? "Killed (SIGKILL)" : "Ended by " + signal_name(signal);
  if (evidence.sender_pid > 0) {
    text += " that process " + std::to_string(evidence.sender_pid);
    if (!evidence.sender_name.empty()) text += " (" + plain(evidence.sender_name) + ")";
    return text + " sent.";
  }
  text += signal == SIGKILL
              ? " by somebody, not by the kernel for want of memory, which counted no such kill."
              : ", which somebody sent.";
  if (evidence.in_pod && (signal == SIGKILL || signal == SIGTERM)) {
    text += " In a pod that may be an eviction, a failed liveness probe, or its deletion.";
  }
  return text;
}

std::string by_policy(const Evidence& evidence, const Verdict& verdict) {
  std::string names;
  for (const std::string& name : evidence.killers)
    names += (names.empty() ? "" : " or ") + plain(name);
  std::string text = verdict.confidence == Confidence::kVeryLikely ? "Very likely" : "Probably";
  text += " ended by " + names + ", which runs here and acts below " +
          size_of({kMiB, "MiB"}, evidence.killer_line_bytes) + " of available memory";
  if (evidence.last) text += "; last seen " + size_of({kMiB, "MiB"}, evidence.last->headroom_bytes);
  return text + ". The kernel itself killed nobody here.";
}

std::string crashed(const Evidence& evidence) {
  const int signal = signal_of(evidence);
  std::string text = "It crashed";
  if (signal != 0) {
    const SignalName* known = find_signal(signal);
    text += " with " + signal_name(signal);
    if (known != nullptr && known->meaning[0] != '\0')
      text += " (" + std::string(known->meaning) + ")";
  } else if (evidence.log) {
    text += " (" + evidence.log->fault + ")";
  }
  if (evidence.log && !evidence.log->module.empty()) text += " in " + plain(evidence.log->module);
  return text + ".";
}

std::string ended_by_guard(const Evidence& evidence) {
  std::string text = "oomguard ended it before the kernel would have killed it for want of memory";
  if (evidence.last && evidence.last->limit_bytes != INT64_MAX) {
    const record::Unit unit = unit_of(evidence);
    text += " (limit " + size_of(unit, evidence.last->limit_bytes) + ", last seen " +
            size_of(unit, evidence.last->needed_bytes) + " in use)";
  }
  if (evidence.ended_by_option)
    return text + ", as " + plain(evidence.ended_because) + " asks for.";
  text += ": no exception could be raised in time";
  if (!evidence.ended_because.empty()) text += "; " + plain(evidence.ended_because);
  return text + ".";
}

std::string ended_itself(const Evidence& evidence) {
  if (evidence.end_state == record::EndState::kAsked) {
    return "Its user or its server asked it to end.";
  }
  if (evidence.wait_status)
    return "It ended with exit status " + std::to_string(WEXITSTATUS(*evidence.wait_status)) + ".";
  return evidence.end_state == record::EndState::kExited ? "It ended itself, by _exit."
                                                         : "It ended by itself.";
}

std::string unknown(const Evidence& evidence) {
  if (evidence.boot == Boot::kOther) {
    return "Cannot tell why it is gone: this machine was started anew since, or it ran on another "
           "one.";
  }
  if (evidence.wait_status) {
    return "Cannot tell who killed it (" + signal_name(signal_of(evidence)) +
           "): the kernel's counters of its group cannot be compared.";
  }
  return "Cannot tell why it is gone: nobody saw its exit status, and the kernel's counters of its "
         "group cannot be compared.";
}

std::string grown_text(const char* name, int64_t grown) {
  return std::string(" ") + name + (grown < 0 ? " ?" : " +" + std::to_string(grown));
}

}  // namespace

std::string signal_name(int signal) {
  const SignalName* known = find_signal(signal);
  return known != nullptr ? known->name : "signal " + std::to_string(signal);
}

std::string what_happened(const Evidence& evidence, const Verdict& verdict) {
  switch (verdict.kind) {
    case Kind::kRunning:
      return "is running";
    case Kind::kClean:
    case Kind::kPolicy:
    case Kind::kRefused:
      return "ended";
    case Kind::kExecuted:
      return "became another program";
    case Kind::kEndedByGuard:
      return "was ended by oomguard";
    case Kind::kCrashed:
      return "crashed";
    case Kind::kSomebody:
    case Kind::kGroupLimit:
    case Kind::kHiddenLimit:
    case Kind::kMachine:
    case Kind::kUnknown:
      break;
  }
  return signal_of(evidence) == SIGKILL || verdict.confidence == Confidence::kCertain ? "was killed"
                                                                                      : "died";
}

std::string cause(const Evidence& evidence, const Verdict& verdict, bool paths) {
  switch (verdict.kind) {
    case Kind::kRunning:
      return "It is running.";
    case Kind::kClean:
      return ended_itself(evidence);
    case Kind::kExecuted:
      return "It became another program; how that ended was not seen.";
    case Kind::kRefused:
      return "It ended by the exception of a refused request.";
    case Kind::kEndedByGuard:
      return ended_by_guard(evidence);
    case Kind::kGroupLimit:
    case Kind::kHiddenLimit:
    case Kind::kMachine:
      return out_of_memory(evidence, verdict, paths);
    case Kind::kPolicy:
      return by_policy(evidence, verdict);
    case Kind::kSomebody:
      return by_somebody(evidence, verdict);
    case Kind::kCrashed:
      return crashed(evidence);
    case Kind::kUnknown:
      break;
  }
  return unknown(evidence);
}

std::string why_not_prevented(const Evidence& evidence, const Verdict& verdict) {
  if (!is_out_of_memory(verdict.kind) || verdict.confidence == Confidence::kNone) return "";
  if (evidence.reported_only)
    return "Not prevented because only reports were asked for (--on-limit warn).";
  if (!evidence.last || evidence.last->own_anonymous_bytes < 0) return "";
  const record::Unit unit = unit_of(evidence);
  const record::Sample& last = *evidence.last;
  const int64_t own = last.own_anonymous_bytes;
  if (own < last.needed_bytes / 2) {
    return "Not prevented because most of it was not this program's own: it held " +
           size_of(unit, own) + " of " + size_of(unit, last.needed_bytes) + ".";
  }
  if (last.headroom_bytes > last.limit_bytes / 8 && evidence.unseen_ns >= 0) {
    return "Not prevented because it was filled faster than could be seen: " +
           size_of(unit, last.headroom_bytes) + " were free " + duration(evidence.unseen_ns) +
           " earlier.";
  }
  return "";
}

std::string growth(const Evidence& evidence) {
  if (!evidence.last || !evidence.lowest) return "";
  const int64_t from = evidence.lowest->needed_bytes;
  const int64_t to = evidence.last->needed_bytes;
  int64_t grown = 0;
  if (from < 0 || __builtin_sub_overflow(to, from, &grown) || grown < std::max(to / 10, kMiB))
    return "";
  const record::Unit unit = unit_of(evidence);
  return "Memory " + amount_of(unit, from) + " \u2192 " + size_of(unit, to) + " in " +
         duration(evidence.last->at_monotonic_ns - evidence.lowest->at_monotonic_ns) + ".";
}

std::vector<std::string> evidence_lines(const Evidence& evidence) {
  std::vector<std::string> lines;
  const int signal = signal_of(evidence);
  lines.push_back(!evidence.wait_status ? "exit status: not seen by anybody"
                  : signal != 0
                      ? "exit status: " + signal_name(signal)
                      : "exit status: " + std::to_string(WEXITSTATUS(*evidence.wait_status)));
  for (const Level& level : evidence.levels) {
    std::string line =
        "counters of " + plain(level.path) + ":" + grown_text("oom_kill", level.grown.kills) +
        grown_text(level.kind == probe::LimitKind::kCgroupV1 ? "limit reached" : "oom",
                   level.grown.hits);
    if (level.kind != probe::LimitKind::kCgroupV1)
      line += grown_text("oom_group_kill", level.grown.group_kills);
    if (level.limit_bytes != INT64_MAX)
      line += ", limit " + size_of(unit_of(evidence), level.limit_bytes);
    lines.push_back(line);
  }
  lines.push_back("counter of the machine:" + grown_text("oom_kill", evidence.machine_kills) +
                  (evidence.boot == Boot::kOther ? ", started anew since" : ""));
  if (evidence.last) {
    const record::Unit unit = unit_of(evidence);
    std::string line =
        "last sample: " + size_of(unit, evidence.last->needed_bytes) + " of " +
        (evidence.last->limit_bytes == INT64_MAX ? "no limit"
                                                 : size_of(unit, evidence.last->limit_bytes));
    if (evidence.unseen_ns >= 0)
      line += ", " + duration(evidence.unseen_ns) + " before the look after its end";
    lines.push_back(line);
  }
  lines.push_back("oom_score_adj: " + std::to_string(evidence.oom_score_adj));
  if (evidence.log)
    lines.push_back("kernel log: names process " + std::to_string(evidence.log->pid));
  for (const std::string& name : evidence.killers)
    lines.push_back("runs here, too: " + plain(name));
  return lines;
}

}  // namespace oomguard::verdict
