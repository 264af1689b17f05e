#include "collector/verdict/verdict.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <functional>
#include <optional>

namespace oomguard::verdict {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kMs = 1'000'000;

// A leaf of 200 MiB below a parent of 300 MiB on a machine of 4 GiB; nothing was counted. Killed by
// SIGKILL 300 ms after it was seen with 190 MiB.
Evidence killed(probe::LimitKind kind = probe::LimitKind::kCgroupV2) {
  Evidence evidence;
  evidence.pid = 165;
  evidence.wait_status = SIGKILL;
  evidence.boot = Boot::kSame;
  const int64_t group_kills = kind == probe::LimitKind::kCgroupV2 ? 0 : -1;
  evidence.levels = {{kind, "/sys/fs/cgroup/p/g", 200 * kMiB, {0, 0, group_kills}},
                     {kind, "/sys/fs/cgroup/p", 300 * kMiB, {0, 0, group_kills}}};
  evidence.machine_kills = 0;
  evidence.machine_bytes = 4 * kGiB;
  evidence.last = record::Sample{};
  evidence.last->needed_bytes = 190 * kMiB;
  evidence.last->limit_bytes = 200 * kMiB;
  evidence.last->headroom_bytes = 10 * kMiB;
  evidence.unseen_ns = 300 * kMs;
  return evidence;
}

void last_seen_at(Evidence* evidence, int64_t needed, int64_t limit) {
  evidence->last->needed_bytes = needed;
  evidence->last->limit_bytes = limit;
  evidence->last->headroom_bytes = limit - needed;
}

using Makes = std::function<Evidence()>;
constexpr auto kV1 = probe::LimitKind::kCgroupV1;
constexpr auto kV2 = probe::LimitKind::kCgroupV2;

struct Seen {
  int64_t needed = 190 * kMiB;
  int64_t limit = 200 * kMiB;
};
constexpr Seen kFar{20 * kMiB, 200 * kMiB};
constexpr Seen kAtParent{298 * kMiB, 300 * kMiB};
constexpr Seen kAtMachine{4 * kGiB - 5 * kMiB, 4 * kGiB};

// Killed, and so much was counted in the leaf and in its parent.
Makes counted(probe::LimitKind kind, Grown leaf, std::optional<Grown> parent = {}, Seen seen = {}) {
  return [=] {
    Evidence e = killed(kind);
    e.levels[0].grown = leaf;
    if (parent) e.levels[1].grown = *parent;
    last_seen_at(&e, seen.needed, seen.limit);
    return e;
  };
}

// It ended with that status, or nobody saw with which; one more kill was counted at its limit, or
// none.
Makes ended(std::optional<int> status, record::EndState state, bool kill_counted = false) {
  return [=] {
    Evidence e = killed();
    e.wait_status = status;
    e.end_state = state;
    if (kill_counted) e.levels[0].grown = {1, 1, 0};
    return e;
  };
}

struct Row {
  const char* name;
  Makes evidence;
  Kind kind;
  Kind or_kind;
  Confidence confidence;
  int level;
};

class Verdicts : public testing::TestWithParam<Row> {};

TEST_P(Verdicts, AreTheseAndNotSurer) {
  const Row& row = GetParam();
  const Verdict verdict = judge(row.evidence());
  EXPECT_STREQ(kind_name(verdict.kind), kind_name(row.kind));
  EXPECT_STREQ(kind_name(verdict.or_kind), kind_name(row.or_kind));
  EXPECT_STREQ(confidence_name(verdict.confidence), confidence_name(row.confidence));
  EXPECT_EQ(verdict.level, row.level);
}

// What the counters of a real kernel were, in each of these cases.
const Row kCounters[] = {
    {"limit of the leaf", counted(kV2, {1, 1, 0}), Kind::kGroupLimit, Kind::kUnknown,
     Confidence::kVeryLikely, 0},
    {"limit of the parent", counted(kV2, {1, 0, 0}, Grown{0, 1, 0}, kAtParent), Kind::kGroupLimit,
     Kind::kUnknown, Confidence::kVeryLikely, 1},
    {"the machine", counted(kV2, {1, 0, 0}, {}, kAtMachine), Kind::kMachine, Kind::kUnknown,
     Confidence::kVeryLikely, -1},
    {"a limit that cannot be seen",
     [] {
       Evidence e = counted(kV2, {1, 0, 0})();
       e.ancestors_hidden = true;
       return e;
     },
     Kind::kHiddenLimit, Kind::kUnknown, Confidence::kVeryLikely, -1},
    {"the whole group", counted(kV2, {4, 1, 1}, {}, kFar), Kind::kGroupLimit, Kind::kUnknown,
     Confidence::kVeryLikely, 0},
    {"v1, limit of the leaf", counted(kV1, {1, 29, -1}), Kind::kGroupLimit, Kind::kUnknown,
     Confidence::kVeryLikely, 0},
    {"v1, limit of the parent", counted(kV1, {1, 0, -1}, Grown{0, 12, -1}, kAtParent),
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kVeryLikely, 1},
    {"v1, the machine", counted(kV1, {1, 0, -1}, {}, kAtMachine), Kind::kMachine, Kind::kUnknown,
     Confidence::kVeryLikely, -1},
    {"v1, both limits turned charges down: the one that was seen to bind",
     counted(kV1, {1, 7, -1}, Grown{0, 9, -1}), Kind::kGroupLimit, Kind::kUnknown,
     Confidence::kVeryLikely, 0},
    {"v1, both limits turned charges down, of one size",
     [] {
       Evidence e = counted(kV1, {1, 7, -1}, Grown{0, 9, -1})();
       e.levels[1].limit_bytes = 200 * kMiB;
       return e;
     },
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kVeryLikely, -1},
    {"v1, a charge was turned down, but the machine had the least room",
     counted(kV1, {1, 7, -1}, {}, kAtMachine), Kind::kGroupLimit, Kind::kMachine,
     Confidence::kVeryLikely, 0},
    {"the counters of the limits cannot be read: the one that was seen to bind",
     counted(kV2, {1, -1, -1}, Grown{}), Kind::kGroupLimit, Kind::kUnknown,
     Confidence::kVeryLikely, 0},
    {"v1, its limit was reached before, too: the one that was seen to bind",
     counted(kV1, {1, -1, -1}), Kind::kGroupLimit, Kind::kUnknown, Confidence::kVeryLikely, 0},
    {"the counters of the limits cannot be read, and none was seen to bind",
     counted(kV2, {1, -1, -1}, Grown{}, {kGiB, 4 * kGiB}), Kind::kGroupLimit, Kind::kMachine,
     Confidence::kProbable, -1},
    {"grown faster than it was looked at", counted(kV2, {1, 1, 0}, {}, kFar), Kind::kGroupLimit,
     Kind::kUnknown, Confidence::kProbable, 0},
};
INSTANTIATE_TEST_SUITE_P(Counters, Verdicts, testing::ValuesIn(kCounters));

constexpr auto kRunning = record::EndState::kRunning;
const Row kStatus[] = {
    {"nothing was counted", [] { return killed(); }, Kind::kSomebody, Kind::kUnknown,
     Confidence::kVeryLikely, -1},
    {"nothing was counted, and nobody saw how it ended", ended({}, kRunning), Kind::kSomebody,
     Kind::kCrashed, Confidence::kNone, -1},
    {"one was counted near the limit, and nobody saw how it ended", ended({}, kRunning, true),
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kVeryLikely, 0},
    {"one was counted some time after that",
     [] {
       Evidence e = killed();
       e.wait_status.reset();
       e.levels[0].grown = {1, 1, 0};
       e.unseen_ns = 3600'000 * kMs;
       return e;
     },
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kProbable, 0},
    {"one was counted far from the limit, and nobody saw how it ended",
     [] {
       Evidence e = killed();
       e.wait_status.reset();
       e.levels[0].grown = {1, 1, 0};
       last_seen_at(&e, 20 * kMiB, 200 * kMiB);
       return e;
     },
     Kind::kGroupLimit, Kind::kSomebody, Confidence::kNone, 0},
    {"a fault, though the kernel killed another process", ended(SIGSEGV, kRunning, true),
     Kind::kCrashed, Kind::kUnknown, Confidence::kCertain, -1},
    {"SIGTERM", ended(SIGTERM, kRunning), Kind::kSomebody, Kind::kUnknown, Confidence::kCertain,
     -1},
    {"an exit status", ended(3 << 8, kRunning), Kind::kClean, Kind::kUnknown, Confidence::kCertain,
     -1},
    {"exit was reached, and nobody saw how it ended", ended({}, record::EndState::kClean),
     Kind::kClean, Kind::kUnknown, Confidence::kCertain, -1},
    {"_exit was called", ended({}, record::EndState::kExited), Kind::kClean, Kind::kUnknown,
     Confidence::kCertain, -1},
    {"its server asked it to end, and killed it because that took long",
     ended(SIGKILL, record::EndState::kAsked), Kind::kClean, Kind::kUnknown, Confidence::kCertain,
     -1},
    {"another program, and nobody saw how that ended", ended({}, record::EndState::kExecuted),
     Kind::kExecuted, Kind::kUnknown, Confidence::kCertain, -1},
    {"another program, which was killed", ended(SIGKILL, record::EndState::kExecuted, true),
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kVeryLikely, 0},
    {"an uncaught refusal", ended(137 << 8, record::EndState::kEndedByRefusal), Kind::kRefused,
     Kind::kUnknown, Confidence::kCertain, -1},
    {"killed while the exception was on its way out",
     ended(SIGKILL, record::EndState::kEndedByRefusal, true), Kind::kGroupLimit, Kind::kUnknown,
     Confidence::kVeryLikely, 0},
    {"ended by the guard",
     [] {
       Evidence e = killed();
       e.wait_status = 137 << 8;
       e.end_state = record::EndState::kEndedByRefusal;
       e.ended_by_guard = true;
       return e;
     },
     Kind::kEndedByGuard, Kind::kUnknown, Confidence::kCertain, -1},
    {"still there",
     [] {
       Evidence e = killed();
       e.running = true;
       return e;
     },
     Kind::kRunning, Kind::kUnknown, Confidence::kCertain, -1},
};
INSTANTIATE_TEST_SUITE_P(Status, Verdicts, testing::ValuesIn(kStatus));

TEST(AboutMemory, IsWhatTheKernelEndedAndWhateverWasNearALimit) {
  const auto about = [](const Makes& makes) {
    const Evidence evidence = makes();
    return is_about_memory(evidence, judge(evidence));
  };
  const auto far = [](std::optional<int> status) {
    return [=] {
      Evidence e = ended(status, kRunning)();
      last_seen_at(&e, 20 * kMiB, 200 * kMiB);
      return e;
    };
  };
  EXPECT_TRUE(about(ended(SIGKILL, kRunning, true)));
  EXPECT_TRUE(about(ended(SIGSEGV, kRunning))) << "as who does not look at NULL";
  EXPECT_FALSE(about(far(SIGSEGV)));
  EXPECT_FALSE(about(far(SIGKILL)));
  EXPECT_FALSE(about(far({}))) << "crashed or killed, and the kernel counted none";
  EXPECT_TRUE(about([] { return Evidence{}; })) << "nothing is known";
}

Evidence without_counters() {
  Evidence e = killed();
  for (Level& level : e.levels) level.grown = {};
  return e;
}

const Row kWrong[] = {
    {"the machine was started anew",
     [] {
       Evidence e = without_counters();
       e.wait_status.reset();
       e.boot = Boot::kOther;
       e.machine_kills = -1;
       return e;
     },
     Kind::kUnknown, Kind::kUnknown, Confidence::kNone, -1},
    {"the group was made anew, and the machine counted nothing", [] { return without_counters(); },
     Kind::kSomebody, Kind::kUnknown, Confidence::kVeryLikely, -1},
    {"the group was made anew, and the machine counted one, far from a limit",
     [] {
       Evidence e = without_counters();
       e.wait_status.reset();
       e.machine_kills = 1;
       last_seen_at(&e, 20 * kMiB, 200 * kMiB);
       return e;
     },
     Kind::kMachine, Kind::kSomebody, Confidence::kNone, -1},
    {"the group is gone with the container, near its limit",
     [] {
       Evidence e = without_counters();
       e.wait_status.reset();
       e.machine_kills = 3;
       return e;
     },
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kProbable, 0},
    {"nothing at all is known",
     [] {
       Evidence e;
       e.pid = 7;
       return e;
     },
     Kind::kUnknown, Kind::kUnknown, Confidence::kNone, -1},
    {"SIGKILL is all that is known",
     [] {
       Evidence e;
       e.wait_status = SIGKILL;
       return e;
     },
     Kind::kUnknown, Kind::kUnknown, Confidence::kNone, -1},
    {"absurd samples",
     [] {
       Evidence e = killed();
       e.last->headroom_bytes = INT64_MIN;
       e.last->limit_bytes = INT64_MIN;
       e.last->needed_bytes = INT64_MAX;
       e.levels[0].grown = {INT64_MAX, 1, 0};
       return e;
     },
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kVeryLikely, 0},
};
INSTANTIATE_TEST_SUITE_P(WrongEvidence, Verdicts, testing::ValuesIn(kWrong));

Evidence with_log(LogEvent event) {
  Evidence e = killed();
  e.wait_status.reset();
  e.log = std::move(event);
  return e;
}

const Row kOthers[] = {
    {"the log names the leaf's limit",
     [] {
       LogEvent event;
       event.group = "/p/g";
       return with_log(event);
     },
     Kind::kGroupLimit, Kind::kUnknown, Confidence::kCertain, 0},
    {"the log names a group that cannot be seen",
     [] {
       LogEvent event;
       event.group = "/kubepods/pod7";
       return with_log(event);
     },
     Kind::kHiddenLimit, Kind::kUnknown, Confidence::kCertain, -1},
    {"the log names the machine",
     [] {
       LogEvent event;
       event.machine = true;
       return with_log(event);
     },
     Kind::kMachine, Kind::kUnknown, Confidence::kCertain, -1},
    {"the log names a fault",
     [] {
       LogEvent event;
       event.kind = LogEvent::Kind::kFault;
       return with_log(event);
     },
     Kind::kCrashed, Kind::kUnknown, Confidence::kCertain, -1},
    {"earlyoom runs, and the machine was below its line",
     [] {
       Evidence e = killed();
       e.killers = {"earlyoom"};
       e.killer_line_bytes = 400 * kMiB;
       last_seen_at(&e, 4 * kGiB - 300 * kMiB, 4 * kGiB);
       return e;
     },
     Kind::kPolicy, Kind::kUnknown, Confidence::kVeryLikely, -1},
    {"earlyoom runs, and the machine had room",
     [] {
       Evidence e = killed();
       e.killers = {"earlyoom"};
       e.killer_line_bytes = 400 * kMiB;
       last_seen_at(&e, kGiB, 4 * kGiB);
       return e;
     },
     Kind::kSomebody, Kind::kUnknown, Confidence::kVeryLikely, -1},
    {"SIGTERM with earlyoom",
     [] {
       Evidence e = killed();
       e.wait_status = SIGTERM;
       e.killers = {"earlyoom"};
       e.killer_line_bytes = 400 * kMiB;
       last_seen_at(&e, 4 * kGiB - 300 * kMiB, 4 * kGiB);
       return e;
     },
     Kind::kPolicy, Kind::kUnknown, Confidence::kProbable, -1},
};
INSTANTIATE_TEST_SUITE_P(Others, Verdicts, testing::ValuesIn(kOthers));

}  // namespace
}  // namespace oomguard::verdict
