// Why a process is gone: a judgement of the evidence that says how sure it is, and says so where it
// cannot tell between two causes.
//
// Rules: what the kernel's log says by name is certain. Counters are of a group, not of a process,
// so that they make a cause very likely at most, and only together with an exit status or with
// memory that was last seen near its end. Evidence that does not fit (another boot, a group that
// was made anew, a counter that went back) counts as none.
// Thread-safety: pure functions. Callable from a hook: no (they allocate).
#pragma once

#include <string>
#include <vector>

#include "collector/verdict/evidence.h"

namespace oomguard::verdict {

enum class Kind {
  kRunning,
  kClean,         // it ended itself, whatever its exit status
  kExecuted,      // it became another program, and how that ended is not known
  kRefused,       // by an exception of a refusal that nobody handled
  kEndedByGuard,  // oomguard ended it, because nothing else was left
  kGroupLimit,    // killed by the kernel at the limit of a memory group
  kHiddenLimit,   // the same, by a limit above what can be seen from inside the container, or the
                  // machine
  kMachine,       // killed by the kernel because the machine was full
  kPolicy,        // killed by a program that watches the machine's memory (earlyoom and its kind)
  kSomebody,      // killed by a signal that somebody sent
  kCrashed,       // by a fault of its own
  kUnknown,
};
enum class Confidence { kNone, kProbable, kVeryLikely, kCertain };

struct Verdict {
  Kind kind = Kind::kUnknown;
  Kind or_kind = Kind::kUnknown;  // where it cannot be told between two: the other
  Confidence confidence = Confidence::kNone;
  int level = -1;     // of Evidence::levels, whose limit it was; -1 none, or it cannot be told
  int64_t kills = 0;  // that the kernel counted for it
};

Verdict judge(const Evidence& evidence);

// Out of memory, in whatever way.
bool is_out_of_memory(Kind kind);
// Whether it may have to do with how much memory there was: not a signal or a fault far from any
// limit.
bool is_about_memory(const Evidence& evidence, const Verdict& verdict);
// "group_limit", for programs.
const char* kind_name(Kind kind);
const char* confidence_name(Confidence confidence);

}  // namespace oomguard::verdict
