#include "collector/verdict/evidence.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>

#include "collector/probe/syscall.h"

namespace oomguard::verdict {
namespace {

using record::kSecondNs;

constexpr int64_t kMiB = int64_t{1} << 20;

// A process that was seen last at 100 s, with 190 MiB, and looked after at 101 s.
struct Gone {
  Gone() {
    header->pid = 165;
    header->boot_id[0] = header->end.boot_id[0] = 7;
    header->pid_namespace = around.pid_namespace = 9;
    header->start_monotonic_ns = 10 * kSecondNs;
    header->end.at_realtime_ns = 1;
    header->end.at_monotonic_ns = 101 * kSecondNs;
    header->machine_kills = header->end.machine_kills = 3;
    header->group_count = 1;
    header->groups[0].seen = {1, 1, 0};
    header->groups[0].end = {2, 2, 0};
    around.first_pid_namespace = true;
    for (int i = 0; i < 3; ++i) {
      record::Sample sample{};
      sample.at_monotonic_ns = (98 + i) * kSecondNs;
      sample.needed_bytes = (90 + 50 * i) * kMiB;
      samples.push_back(sample);
    }
  }
  Evidence look() const { return gather(*header, nullptr, samples, around); }

  std::unique_ptr<record::FlightHeader> header = std::make_unique<record::FlightHeader>();
  std::vector<record::Sample> samples;
  Surroundings around;
};

LogEvent named(int32_t pid, int64_t at_ns) {
  LogEvent event;
  event.pid = pid;
  event.at_ns = at_ns;
  return event;
}

TEST(Gathering, TakesWhatGrew) {
  Gone gone;
  const Evidence evidence = gone.look();
  ASSERT_EQ(evidence.levels.size(), 1u);
  EXPECT_EQ(evidence.levels[0].grown.kills, 1);
  EXPECT_EQ(evidence.levels[0].grown.group_kills, 0);
  EXPECT_EQ(evidence.machine_kills, 0);
  EXPECT_EQ(evidence.unseen_ns, kSecondNs);
  EXPECT_EQ(evidence.last->needed_bytes, 190 * kMiB);
  EXPECT_EQ(evidence.lowest->needed_bytes, 90 * kMiB);
  EXPECT_FALSE(evidence.wait_status);
}

TEST(Gathering, ACounterThatWentBackIsUnknown) {
  Gone gone;
  gone.header->groups[0].end = {0, 5, -1};
  const Evidence evidence = gone.look();
  EXPECT_EQ(evidence.levels[0].grown.kills, -1);
  EXPECT_EQ(evidence.levels[0].grown.hits, 4);
  EXPECT_EQ(evidence.levels[0].grown.group_kills, -1);
}

TEST(Gathering, Version1TellsThatALimitWasNeverOrNewlyReached) {
  Gone gone;
  gone.header->groups[0].kind = static_cast<uint32_t>(probe::LimitKind::kCgroupV1);
  const auto hits = [&](int64_t seen, int64_t end) {
    gone.header->groups[0].seen.hits = seen;
    gone.header->groups[0].end.hits = end;
    return gone.look().levels[0].grown.hits;
  };
  EXPECT_EQ(hits(0, 0), 0);
  EXPECT_EQ(hits(0, 1), 1);
  EXPECT_EQ(hits(1, 1), -1) << "it was near before, perhaps with file pages";
  EXPECT_EQ(hits(5, 9), 4);
}

TEST(Gathering, OfAnotherBootNothingIsCompared) {
  Gone gone;
  gone.header->end.boot_id[0] = 8;
  const Evidence evidence = gone.look();
  EXPECT_EQ(evidence.boot, Boot::kOther);
  EXPECT_EQ(evidence.levels[0].grown.kills, -1);
  EXPECT_EQ(evidence.machine_kills, -1);
  EXPECT_EQ(evidence.unseen_ns, -1);
}

TEST(Gathering, WithoutABootIdNeither) {
  Gone gone;
  gone.header->boot_id[0] = 0;
  EXPECT_EQ(gone.look().boot, Boot::kUnknown);
  EXPECT_EQ(gone.look().levels[0].grown.kills, -1);
}

TEST(Gathering, AClockThatWentBackHasNoAge) {
  Gone gone;
  gone.header->end.at_monotonic_ns = 5 * kSecondNs;
  EXPECT_EQ(gone.look().unseen_ns, -1);
  gone.header->end.at_monotonic_ns = INT64_MIN;
  gone.samples.back().at_monotonic_ns = INT64_MAX;
  EXPECT_EQ(gone.look().unseen_ns, -1);
}

TEST(Gathering, TheLogIsBelievedWhereItNamesThisProcessAfterItWasSeen) {
  Gone gone;
  gone.around.log = {named(164, 100 * kSecondNs), named(165, 60 * kSecondNs),
                     named(165, 500 * kSecondNs), named(165, -1), named(165, INT64_MIN)};
  EXPECT_FALSE(gone.look().log) << "another process, or another time";
  gone.around.log.push_back(named(165, 100 * kSecondNs));
  EXPECT_TRUE(gone.look().log);
  gone.around.first_pid_namespace = false;
  EXPECT_FALSE(gone.look().log) << "the log has other numbers than this container";
  gone.around.first_pid_namespace = true;
  gone.around.pid_namespace = 10;
  EXPECT_FALSE(gone.look().log) << "the process lived in another namespace";
}

TEST(Gathering, AnExitStatusAndItsSenderAreTakenOver) {
  Gone gone;
  gone.header->end.has_wait_status = 1;
  gone.header->end.wait_status = SIGTERM;
  gone.header->end.sender_pid = 4;
  EXPECT_EQ(gone.look().wait_status, SIGTERM);
  EXPECT_EQ(gone.look().sender_pid, 4);
}

TEST(Gathering, AnEndByAnOptionIsTheGuards) {
  Gone gone;
  const auto refusal = std::make_unique<record::RefusalRecord>();
  const auto look = [&] { return gather(*gone.header, refusal.get(), gone.samples, gone.around); };
  refusal->outcome = static_cast<uint32_t>(record::Outcome::kRefused);
  EXPECT_FALSE(look().ended_by_guard);
  strcpy(gone.header->ended_because, "--on-limit exit");
  EXPECT_TRUE(look().ended_by_guard && look().ended_by_option);
  refusal->outcome = static_cast<uint32_t>(record::Outcome::kEnded);
  EXPECT_TRUE(look().ended_by_guard && !look().ended_by_option);
}

TEST(IsOver, AProcessInAnotherNamespaceRunsWhileItWrites) {
  record::FlightHeader header{};
  header.pid = ::getpid();  // with another start
  header.pid_namespace = 9;
  EXPECT_TRUE(is_over(header, 9));
  header.last_sample_ns = sys::monotonic_ns();
  EXPECT_TRUE(is_over(header, 9));
  EXPECT_FALSE(is_over(header, 10));
  header.last_sample_ns = sys::monotonic_ns() - 60 * kSecondNs;
  EXPECT_TRUE(is_over(header, 10));
}

TEST(LookingAround, AnswersHere) {
  const Surroundings around = look_around();
  EXPECT_GT(around.machine_bytes, 0);
  EXPECT_NE(around.pid_namespace, 0u);
}

}  // namespace
}  // namespace oomguard::verdict
