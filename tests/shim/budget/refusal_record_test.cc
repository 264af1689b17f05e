#include "shim/budget/refusal_record.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <thread>

#include "collector/record/reader.h"
#include "shim/core/session.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::budget {
namespace {

using test::budget_of;
using test::Folder;
using test::guard;
using test::expect_in_child;
using test::interpreter_caller;
using test::Mapped;
using test::Signpost;
using test::start_child;
using test::wait_for;

void start_session(const Folder& folder) {
  session::start(folder.path().c_str(), 512 * kMiB, 24 * kMiB, 0, "/group");
}

uint64_t record_one(uint64_t incident, Bytes size = 77 * kMiB,
                    record::Outcome outcome = record::Outcome::kRefused) {
  Judgement judgement;
  judgement.source = &gate.probe;
  judgement.pages = &gate.residency;
  judgement.headroom.bytes = 30 * kMiB;
  judgement.line = 24 * kMiB;
  judgement.in_flight = 3 * kMiB;
  judgement.pending = 5 * kMiB;
  judgement.reading.level_count = 1;
  judgement.headroom.level = 0;
  judgement.reading.levels[0] = {probe::LimitKind::kBudget, false,    512 * kMiB,    482 * kMiB,
                                 0,                         7 * kMiB, probe::kNoPath};
  return write_refusal({record::RequestKind::kCalloc, outcome, size,
                        reinterpret_cast<uintptr_t>(interpreter_caller()),
                        static_cast<int32_t>(gettid()), incident, &judgement},
                       program_now_ns());
}

record::Flight read_back(const std::string& path) {
  Result<record::Flight> flight = record::read_flight(path);
  if (!flight) {
    ADD_FAILURE() << flight.error().message;
    _exit(2);
  }
  return std::move(*flight);
}

TEST(RefusalRecordTest, TheFileHoldsTheWholeRecordAtOnce) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    pthread_setname_np(pthread_self(), "asking");
    EXPECT_EQ(record_one(9), 1u);
    const record::Flight flight = read_back(session::path());
    EXPECT_EQ(flight.header().refusals, 1u);
    EXPECT_EQ(flight.header().incidents, 1u);
    ASSERT_EQ(flight.refusals().size(), 1u);
    const record::RefusalRecord& refusal = *flight.refusals()[0];
    EXPECT_EQ(refusal.sequence, 1u);
    EXPECT_EQ(refusal.incident, 9u);
    EXPECT_EQ(refusal.pid, getpid());
    EXPECT_EQ(refusal.thread_id, gettid());
    EXPECT_EQ(refusal.kind, static_cast<uint32_t>(record::RequestKind::kCalloc));
    EXPECT_EQ(refusal.outcome, static_cast<uint32_t>(record::Outcome::kRefused));
    EXPECT_EQ(refusal.request_bytes, 77 * kMiB);
    EXPECT_EQ(refusal.headroom_bytes, 30 * kMiB);
    EXPECT_EQ(refusal.line_bytes, 24 * kMiB);
    EXPECT_EQ(refusal.reserve_bytes, 16 * kMiB);
    EXPECT_EQ(refusal.in_flight_bytes, 3 * kMiB);
    EXPECT_EQ(refusal.pending_bytes, 5 * kMiB);
    EXPECT_GT(refusal.resident_bytes, 0);
    EXPECT_GT(refusal.anonymous_bytes, 0);
    EXPECT_EQ(refusal.surfaced, 0u);
    EXPECT_STREQ(refusal.where, "");
    EXPECT_STREQ(refusal.module, "oomguard_budget_test");
    EXPECT_STREQ(refusal.thread_name, "asking");
    ASSERT_EQ(refusal.level_count, 1u);
    EXPECT_EQ(refusal.levels[0].binds, 1u);
    EXPECT_EQ(refusal.levels[0].limit_bytes, 512 * kMiB);
    EXPECT_EQ(refusal.levels[0].usage_bytes, 482 * kMiB);
    EXPECT_EQ(refusal.levels[0].swap_room_bytes, 7 * kMiB);
  });
}

TEST(RefusalRecordTest, TheTenLargestBlocksAreListedWithWhatIsThereOfThem) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    const Mapped memory(64 * kMiB);
    memory.touch(0, 32 * kMiB);
    const auto caller = reinterpret_cast<uintptr_t>(interpreter_caller());
    const int64_t born = program_now_ns() - 5'000'000'000;
    ledger.add({memory.address(), memory.size(), -1, born, caller, 1, false});
    for (uintptr_t i = 1; i <= 12; ++i) {
      ledger.add({memory.address() + i * 4096, static_cast<int64_t>(i + 1) * kMiB, -1, born,
                  0, 1, true});
    }
    record_one(1);
    const record::Flight flight = read_back(session::path());
    const record::RefusalRecord& refusal = *flight.refusals()[0];
    ASSERT_EQ(refusal.block_count, 10u);
    EXPECT_EQ(refusal.recorded_blocks, 13u);
    EXPECT_EQ(refusal.recorded_bytes, 64 * kMiB + (2 + 13) * 12 / 2 * kMiB);
    EXPECT_EQ(refusal.blocks[0].address, memory.address());
    EXPECT_STREQ(refusal.blocks[0].module, "oomguard_budget_test");
    EXPECT_NEAR(static_cast<double>(refusal.blocks[0].touched_bytes), 32.0 * kMiB,
                2.1 * kMiB);
    EXPECT_GE(refusal.blocks[0].age_ms, 5000);
    EXPECT_LT(refusal.blocks[0].age_ms, 60'000);
    for (uint32_t i = 1; i < 10; ++i) {
      EXPECT_LE(refusal.blocks[i].size_bytes, refusal.blocks[i - 1].size_bytes);
      EXPECT_STREQ(refusal.blocks[i].module, "");
    }
  });
}

TEST(RefusalRecordTest, AFloodIsCountedAndLeavesTheRecordsOfItsBeginning) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    for (uint64_t i = 1; i <= 200; ++i) {
      EXPECT_EQ(record_one(1 + i / 100, static_cast<Bytes>(i) * kMiB), i);
    }
    const record::Flight flight = read_back(session::path());
    EXPECT_EQ(flight.header().refusals, 200u);
    EXPECT_EQ(flight.header().incidents, 3u);
    ASSERT_EQ(flight.refusals().size(), size_t{record::kRefusalSlots});
    // The third incident's only one took the slot of number 136.
    uint64_t expected = 100;
    for (const record::RefusalRecord* refusal : flight.refusals()) {
      if (expected == 136) ++expected;
      if (expected == 164) expected = 200;
      EXPECT_EQ(refusal->sequence, expected);
      EXPECT_EQ(refusal->request_bytes, static_cast<Bytes>(expected) * kMiB);
      ++expected;
    }
  });
}

TEST(RefusalRecordTest, ASignalsRecordIsMadeInAFloodToo) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    for (int i = 0; i < 100; ++i) record_one(1);
    EXPECT_EQ(record_one(1, 5 * kMiB, record::Outcome::kException), 101u);
    const record::Flight flight = read_back(session::path());
    EXPECT_EQ(flight.refusals().back()->sequence, 101u);
    EXPECT_EQ(flight.refusals().front()->sequence, 1u);
  });
}

TEST(RefusalRecordTest, TheThousandthOfARetryLoopCostsLittle) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    for (int i = 0; i < 10; ++i) record_one(1);
    const int64_t before = program_now_ns();
    for (int i = 0; i < 100; ++i) record_one(1);
    EXPECT_LT((program_now_ns() - before) / 100, 5'000'000);
    const record::Flight flight = read_back(session::path());
    EXPECT_EQ(flight.refusals().back()->neighbour_count, 0u) << "only numbers";
  });
}

TEST(RefusalRecordTest, OtherProcessesOfTheGroupAreListedWithoutThisOne) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    record_one(1);
    const record::Flight flight = read_back(session::path());
    const record::RefusalRecord& refusal = *flight.refusals()[0];
    Bytes before = INT64_MAX;
    for (uint32_t i = 0; i < refusal.neighbour_count; ++i) {
      EXPECT_NE(refusal.neighbours[i].pid, getpid());
      EXPECT_GT(refusal.neighbours[i].pid, 0);
      EXPECT_LE(refusal.neighbours[i].resident_bytes, before);
      EXPECT_STRNE(refusal.neighbours[i].name, "");
      before = refusal.neighbours[i].resident_bytes;
    }
  });
}

TEST(RefusalRecordTest, ThreadsThatAreRefusedAtOnceGetNumbersOfTheirOwn) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    std::thread threads[4];
    for (std::thread& thread : threads) {
      thread = std::thread([] {
        for (int i = 0; i < 10; ++i) record_one(1);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const record::Flight flight = read_back(session::path());
    EXPECT_EQ(flight.header().refusals, 40u);
    EXPECT_EQ(flight.header().incidents, 1u);
    ASSERT_EQ(flight.refusals().size(), 40u);
    for (size_t i = 0; i < 40; ++i) EXPECT_EQ(flight.refusals()[i]->sequence, i + 1);
  });
}

TEST(RefusalRecordTest, AKillInTheMiddleLeavesAReadableFile) {
  for (int round = 0; round < 5; ++round) {
    const Folder folder;
    const Signpost started;
    const pid_t child = start_child([&] {
      guard(budget_of(512 * kMiB));
      start_session(folder);
      started.set();
      for (uint64_t i = 1;; ++i) record_one(i / 3 + 1, static_cast<Bytes>(i));
    });
    started.wait();
    usleep(10'000 + round * 7'000);
    kill(child, SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(wait_for(child)));
    int files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "sessions")) {
      ++files;
      const record::Flight flight = read_back(entry.path());
      EXPECT_EQ(flight.header().pid, child);
      EXPECT_EQ(flight.header().end_state, static_cast<uint32_t>(record::EndState::kRunning));
      uint64_t before = 0;
      for (const record::RefusalRecord* refusal : flight.refusals()) {
        EXPECT_GT(refusal->sequence, before);
        EXPECT_EQ(refusal->request_bytes, static_cast<Bytes>(refusal->sequence.load()));
        before = refusal->sequence;
      }
    }
    EXPECT_EQ(files, 1);
  }
}

TEST(RefusalRecordTest, AForkedChildRecordsItsIncidentsInAFileOfItsOwn) {
  expect_in_child([] {
    const Folder folder;
    guard(budget_of(512 * kMiB));
    start_session(folder);
    for (int i = 0; i < 6; ++i) record_one(1);
    const std::string parents = session::path();
    expect_in_child([&] {
      session::on_fork_child();
      forget_incident_of_parent();
      EXPECT_EQ(record_one(1), 1u) << "its first";
      EXPECT_NE(parents, session::path());
      const record::Flight flight = read_back(session::path());
      EXPECT_EQ(flight.header().pid, getpid());
      EXPECT_EQ(flight.header().incidents, 1u);
      ASSERT_EQ(flight.refusals().size(), 1u);
    });
    EXPECT_EQ(read_back(parents).header().refusals, 6u);
  });
}

}  // namespace
}  // namespace oomguard::budget
