#include "shim/budget/incident.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace oomguard::budget {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kNow = 100'000 * kMs;

TEST(IncidentTest, IsClosedAtFirst) {
  const Incident incident;
  EXPECT_FALSE(incident.open());
  EXPECT_FALSE(incident.grace());
  EXPECT_EQ(incident.id(), 0u);
}

TEST(IncidentTest, ARefusalOpensItWithGraceAndANumber) {
  Incident incident;
  EXPECT_EQ(incident.refused(kNow, true), 1u);
  EXPECT_TRUE(incident.open());
  EXPECT_TRUE(incident.grace());
  EXPECT_EQ(incident.refused(kNow + kMs, true), 1u) << "the same incident";
}

TEST(IncidentTest, WithoutAnExceptionThereIsNoGrace) {
  Incident incident;
  incident.refused(kNow, false);
  EXPECT_TRUE(incident.open());
  EXPECT_FALSE(incident.grace());
  incident.refused(kNow, true);
  EXPECT_TRUE(incident.grace()) << "one that gets an exception opens it";
  incident.refused(kNow, false);
  EXPECT_TRUE(incident.grace()) << "and one without does not take it away";
}

TEST(IncidentTest, GraceStaysUntilTheExceptionWasShownAndThereIsRoom) {
  Incident incident;
  incident.refused(kNow, true);
  incident.look(kNow + kMs, true);
  EXPECT_TRUE(incident.grace()) << "room alone is not enough: the traceback comes next";
  incident.surfaced();
  incident.look(kNow + 2 * kMs, false);
  EXPECT_TRUE(incident.grace()) << "shown, but the memory is not back";
  incident.look(kNow + 3 * kMs, true);
  EXPECT_FALSE(incident.grace());
  EXPECT_FALSE(incident.open());
  EXPECT_EQ(incident.refused(kNow + 4 * kMs, true), 2u) << "the next one is another";
}

TEST(IncidentTest, ARefusalThatTheProgramHandlesEndsAfterAPause) {
  Incident incident;
  incident.refused(kNow, true);
  incident.look(kNow + 99 * kMs, true);
  EXPECT_TRUE(incident.open());
  incident.look(kNow + 101 * kMs, false);
  EXPECT_TRUE(incident.open()) << "no room yet";
  incident.look(kNow + 101 * kMs, true);
  EXPECT_FALSE(incident.open());
}

TEST(IncidentTest, EachRefusalStartsThePauseAndWantsToBeShownAgain) {
  Incident incident;
  incident.refused(kNow, true);
  incident.surfaced();
  incident.refused(kNow + 50 * kMs, true);
  incident.look(kNow + 120 * kMs, true);
  EXPECT_TRUE(incident.grace());
  incident.surfaced();
  incident.look(kNow + 121 * kMs, true);
  EXPECT_FALSE(incident.open());
}

TEST(IncidentTest, AnEndingProgramKeepsItsGrace) {
  Incident incident;
  incident.refused(kNow, true);
  incident.surfaced();
  incident.ending();
  incident.look(kNow + 60'000 * kMs, true);
  EXPECT_TRUE(incident.grace());
}

TEST(IncidentTest, ReliefIsClaimedOncePerIncident) {
  Incident incident;
  EXPECT_TRUE(incident.claim_relief());
  incident.refused(kNow, true);
  EXPECT_FALSE(incident.claim_relief());
  incident.look(kNow + 5000 * kMs, false);
  EXPECT_FALSE(incident.claim_relief()) << "as long as there is no room";
  incident.surfaced();
  incident.look(kNow + 5001 * kMs, true);
  EXPECT_FALSE(incident.claim_relief()) << "nor right after";
  incident.look(kNow + 7002 * kMs, true);
  EXPECT_TRUE(incident.claim_relief());
}

// malloc_trim takes up to half a second: where it helped, the next one waits.
TEST(IncidentTest, ReliefThatHelpedIsNotRepeatedAtOnce) {
  Incident incident;
  EXPECT_TRUE(incident.claim_relief());
  incident.look(kNow + kMs, true);
  EXPECT_FALSE(incident.claim_relief());
  incident.look(kNow + 2002 * kMs, true);
  EXPECT_TRUE(incident.claim_relief());
}

TEST(IncidentTest, ManyThreadsOpenOneIncidentAndOneClaimsRelief) {
  for (int round = 0; round < 50; ++round) {
    Incident incident;
    std::atomic<int> claims{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        claims += incident.claim_relief();
        incident.refused(kNow, true);
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(claims, 1);
    EXPECT_EQ(incident.id(), 1u);
    EXPECT_TRUE(incident.grace());
  }
}

}  // namespace
}  // namespace oomguard::budget
