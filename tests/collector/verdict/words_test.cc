#include "collector/verdict/words.h"

#include <gtest/gtest.h>
#include <signal.h>

namespace oomguard::verdict {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kSecond = 1'000'000'000;

Evidence at_the_limit() {
  Evidence evidence;
  evidence.wait_status = SIGKILL;
  evidence.boot = Boot::kSame;
  evidence.levels = {{probe::LimitKind::kCgroupV2, "/sys/fs/cgroup", 32 * kGiB, {1, 1, 0}}};
  evidence.last = evidence.lowest = record::Sample{};
  evidence.last->needed_bytes = 32 * kGiB - kGiB / 10;
  evidence.last->limit_bytes = 32 * kGiB;
  evidence.last->headroom_bytes = kGiB / 10;
  evidence.last->own_anonymous_bytes = 31 * kGiB;
  evidence.last->at_monotonic_ns = 29 * kSecond;
  evidence.lowest->needed_bytes = 4 * kGiB + kGiB / 10;
  evidence.lowest->at_monotonic_ns = 20 * kSecond;
  evidence.unseen_ns = 400'000'000;
  return evidence;
}

TEST(Words, OfALimit) {
  const Evidence evidence = at_the_limit();
  const Verdict verdict = judge(evidence);
  EXPECT_EQ(what_happened(evidence, verdict), "was killed");
  EXPECT_EQ(
      cause(evidence, verdict),
      "Very likely out of memory: container limit 32.0 GiB (/sys/fs/cgroup), last seen 31.9 GiB "
      "in use 0.4 s earlier, one kill counted.");
  EXPECT_EQ(cause(evidence, verdict, false),
            "Very likely out of memory: container limit 32.0 GiB, last seen 31.9 GiB in use 0.4 s "
            "earlier, one kill counted.");
  EXPECT_EQ(growth(evidence), "Memory 4.1 \u2192 31.9 GiB in 9.0 s.");
  EXPECT_EQ(why_not_prevented(evidence, verdict), "");
}

TEST(Words, OfWhatWasNotItsOwn) {
  Evidence evidence = at_the_limit();
  evidence.last->own_anonymous_bytes = kGiB;
  EXPECT_EQ(
      why_not_prevented(evidence, judge(evidence)),
      "Not prevented because most of it was not this program's own: it held 1.0 GiB of 31.9 GiB.");
  evidence.reported_only = true;
  EXPECT_EQ(why_not_prevented(evidence, judge(evidence)),
            "Not prevented because only reports were asked for (--on-limit warn).");
}

TEST(Words, OfSomebody) {
  Evidence evidence = at_the_limit();
  evidence.levels[0].grown = {0, 0, 0};
  EXPECT_EQ(
      cause(evidence, judge(evidence)),
      "Killed (SIGKILL) by somebody, not by the kernel for want of memory, which counted no such "
      "kill.");
  evidence.wait_status = SIGTERM;
  evidence.sender_pid = 4;
  evidence.sender_name = "ba\x1bsh";
  EXPECT_EQ(cause(evidence, judge(evidence)), "Ended by SIGTERM that process 4 (ba?sh) sent.");
}

TEST(Words, OfAnEndByTheGuard) {
  Evidence evidence = at_the_limit();
  evidence.wait_status = 137 << 8;
  evidence.end_state = record::EndState::kEndedByRefusal;
  evidence.ended_by_guard = true;
  evidence.ended_because = "--overcommit refuse";
  EXPECT_EQ(what_happened(evidence, judge(evidence)), "was ended by oomguard");
  EXPECT_EQ(
      cause(evidence, judge(evidence)),
      "oomguard ended it before the kernel would have killed it for want of memory (limit 32.0 "
      "GiB, last seen 31.9 GiB in use): no exception could be raised in time; --overcommit "
      "refuse.");
  evidence.ended_by_option = true;
  evidence.ended_because = "--on-limit exit";
  EXPECT_EQ(
      cause(evidence, judge(evidence)),
      "oomguard ended it before the kernel would have killed it for want of memory (limit 32.0 "
      "GiB, last seen 31.9 GiB in use), as --on-limit exit asks for.");
}

TEST(Words, OfAFault) {
  Evidence evidence = at_the_limit();
  evidence.wait_status = SIGSEGV;
  EXPECT_EQ(cause(evidence, judge(evidence)), "It crashed with SIGSEGV (segmentation fault).");
  evidence.log = LogEvent{};
  evidence.log->kind = LogEvent::Kind::kFault;
  evidence.log->module = "libx.so";
  EXPECT_EQ(cause(evidence, judge(evidence)),
            "It crashed with SIGSEGV (segmentation fault) in libx.so.");
}

TEST(Words, OfWhatCannotBeTold) {
  Evidence evidence;
  EXPECT_EQ(
      cause(evidence, judge(evidence)),
      "Cannot tell why it is gone: nobody saw its exit status, and the kernel's counters of its "
      "group cannot be compared.");
  evidence.boot = Boot::kOther;
  EXPECT_EQ(
      cause(evidence, judge(evidence)),
      "Cannot tell why it is gone: this machine was started anew since, or it ran on another one.");
}

TEST(Words, EveryVerdictHasSomeAndNoControlCharacter) {
  Evidence evidence = at_the_limit();
  evidence.levels[0].path = "/a\nb";
  evidence.last->needed_bytes = INT64_MIN;
  evidence.lowest->needed_bytes = INT64_MAX;
  evidence.killers = {"early\noom"};
  for (int kind = 0; kind <= static_cast<int>(Kind::kUnknown); ++kind) {
    for (int other = 0; other <= static_cast<int>(Kind::kUnknown); ++other) {
      const Verdict verdict{static_cast<Kind>(kind), static_cast<Kind>(other), Confidence::kNone};
      std::string text = what_happened(evidence, verdict) + cause(evidence, verdict) +
                         why_not_prevented(evidence, verdict) + growth(evidence);
      for (const std::string& line : evidence_lines(evidence)) text += line;
      EXPECT_EQ(text.find('\n'), text.npos) << text;
    }
  }
}

}  // namespace
}  // namespace oomguard::verdict
