#include "shim/core/engine.h"

#include <gtest/gtest.h>

#include <thread>

#include "shim/budget/refusal_record.h"
#include "shim/core/session.h"
#include "tests/shim/budget/harness.h"

namespace oomguard::engine {
namespace {

using budget::kMiB;
using test::budget_of;
using test::Folder;
using test::guard;
using test::expect_in_child;

uint64_t refuse(int32_t thread_id = static_cast<int32_t>(gettid())) {
  budget::Judgement judgement;
  judgement.source = &budget::gate.probe;
  judgement.headroom.bytes = 30 * kMiB;
  const uint64_t incident = budget::gate.incident.refused(budget::program_now_ns(), true);
  return budget::write_refusal({record::RequestKind::kMalloc, record::Outcome::kRefused,
                                77 * kMiB, 0,
                                thread_id, incident, &judgement},
                               budget::program_now_ns());
}

// Each runs in a forked child, on a fresh engine.
#define ENGINE_TEST(name)                                       \
  void engine_##name();                                         \
  TEST(EngineTest, name) { expect_in_child(engine_##name); } \
  void engine_##name()

ENGINE_TEST(AnswersNothingWhereTheGateIsOff) {
  Usage answer{};
  EXPECT_FALSE(active());
  EXPECT_FALSE(usage(&answer));
  EXPECT_EQ(refusal_count(), 0u);
  EXPECT_EQ(unsurfaced_refusal(0), 0u);
  record::RefusalRecord refusal{};
  EXPECT_FALSE(copy_refusal(0, &refusal));
  EXPECT_FALSE(copy_refusal(1, &refusal));
  char text[100];
  EXPECT_EQ(render_refusal(0, record::Audience::kScript, text, sizeof text), 0u);
  EXPECT_EQ(render_refusal_note(0, text, sizeof text), 0u);
}

ENGINE_TEST(UsageNamesTheLimitThatBinds) {
  const options::Values values_of_test = budget_of(256 * kMiB);
  guard(values_of_test);
  Usage answer{};
  EXPECT_TRUE(active());
  ASSERT_TRUE(usage(&answer));
  EXPECT_STREQ(answer.limit_name, "budget");
  EXPECT_EQ(answer.limit_bytes, values_of_test.budget_bytes);
  EXPECT_EQ(answer.reserve_bytes, 16 * kMiB);
  EXPECT_NEAR(static_cast<double>(answer.headroom_bytes), 240.0 * kMiB, 4.0 * kMiB);
  EXPECT_GT(answer.used_bytes, 0);
  EXPECT_EQ(values().budget_bytes, values_of_test.budget_bytes);
}

ENGINE_TEST(HeadroomIsNeverNegative) {
  guard(budget_of(64 * kMiB, 32 * kMiB));
  const test::Mapped held(48 * kMiB);
  held.touch();
  Usage answer{};
  ASSERT_TRUE(usage(&answer));
  EXPECT_EQ(answer.headroom_bytes, 0);
}

ENGINE_TEST(TheFirstRefusalOfAnIncidentIsFoundAfterAFlood) {
  for (uint64_t i = 1; i <= 330; ++i) EXPECT_EQ(refuse(), i);
  EXPECT_EQ(refusal_count(), 330u);
  record::RefusalRecord refusal{};
  ASSERT_TRUE(copy_refusal(1, &refusal));
  EXPECT_EQ(refusal.sequence, 1u);
  ASSERT_TRUE(copy_refusal(0, &refusal)) << "the newest that has a record";
  EXPECT_EQ(refusal.sequence, 64u);
  EXPECT_EQ(unsurfaced_refusal(0), 64u);
  EXPECT_FALSE(copy_refusal(65, &refusal));
  EXPECT_FALSE(copy_refusal(330, &refusal));
  EXPECT_FALSE(copy_refusal(331, &refusal));
  EXPECT_FALSE(copy_refusal(UINT64_MAX, &refusal));
}

ENGINE_TEST(ARefusalIsRenderedWithinItsRoom) {
  refuse();
  char text[2000];
  EXPECT_GT(render_refusal(1, record::Audience::kScript, text, sizeof text), 20u);
  EXPECT_NE(std::string(text).find("77 MiB"), std::string::npos) << text;
  EXPECT_GT(render_refusal_note(1, text, sizeof text), 20u);
  char tiny[8] = "";
  EXPECT_LT(render_refusal(1, record::Audience::kScript, tiny, sizeof tiny), sizeof tiny);
  EXPECT_EQ(memchr(tiny, '\0', sizeof tiny) != nullptr, true);
}

ENGINE_TEST(TheNewestUnsurfacedRefusalOfAThreadIsFound) {
  refuse(100);
  refuse(200);
  refuse(100);
  EXPECT_EQ(unsurfaced_refusal(0), 3u);
  EXPECT_EQ(unsurfaced_refusal(100), 3u);
  EXPECT_EQ(unsurfaced_refusal(200), 2u);
  EXPECT_EQ(unsurfaced_refusal(300), 0u);
}

ENGINE_TEST(WhatWasShownAndWhatWasBeforeItIsNotShownAgain) {
  for (int i = 0; i < 3; ++i) refuse();
  surfaced(2, "cell [4] line 2");
  EXPECT_EQ(unsurfaced_refusal(0), 3u);
  surfaced(3, nullptr);
  EXPECT_EQ(unsurfaced_refusal(0), 0u);
  EXPECT_EQ(session::file()->header.surfaced, 2u);
  record::RefusalRecord refusal{};
  ASSERT_TRUE(copy_refusal(2, &refusal));
  EXPECT_STREQ(refusal.where, "cell [4] line 2");
  EXPECT_EQ(refusal.surfaced, 1u);
  refuse();
  EXPECT_EQ(unsurfaced_refusal(0), 4u);
  surfaced(99, "no such refusal");
  EXPECT_EQ(session::file()->header.surfaced, 2u);
}

ENGINE_TEST(ALongPlaceIsCut) {
  refuse();
  surfaced(1, std::string(10'000, 'x').c_str());
  EXPECT_EQ(strlen(session::file()->refusals[0].where), sizeof(record::RefusalRecord::where) - 1);
}

ENGINE_TEST(ShowingItEndsTheGraceWhenThereIsRoom) {
  guard(budget_of(256 * kMiB));
  refuse();
  Usage answer{};
  ASSERT_TRUE(usage(&answer));
  EXPECT_TRUE(budget::gate.incident.grace());
  surfaced(1, "");
  ASSERT_TRUE(usage(&answer));
  EXPECT_FALSE(budget::gate.incident.grace());
}

ENGINE_TEST(AnEndingKeepsTheGraceAndIsRecorded) {
  guard(budget_of(256 * kMiB));
  refuse();
  surfaced(1, "");
  ending(1);
  Usage answer{};
  ASSERT_TRUE(usage(&answer));
  EXPECT_TRUE(budget::gate.incident.grace());
  EXPECT_EQ(session::file()->header.end_state,
            static_cast<uint32_t>(record::EndState::kEndedByRefusal));
}

ENGINE_TEST(TheAlarmIsPassedThrough) {
  signal(SIGRTMIN + 3, [](int) {});
  exception_signal_ready(SIGRTMIN + 3);
  EXPECT_TRUE(budget::gate.alarm.send(5, 42, budget::program_now_ns()));
  int32_t grower = 0;
  EXPECT_EQ(alarm_refusal(&grower), 5u);
  EXPECT_EQ(grower, 42);
  exception_handled();
  EXPECT_FALSE(budget::gate.alarm.ready(budget::program_now_ns()));
  EXPECT_TRUE(budget::gate.alarm.ready(budget::program_now_ns() + 1'000'000'000));
}

ENGINE_TEST(WhatPythonSaysOfItselfIsRecorded) {
  const Folder folder;
  session::start(folder.path().c_str(), 1, 1, 0, "");
  set_python((3 << 16) | 11, true, "/run/user/kernel-1.json", "a.ipynb");
  EXPECT_STREQ(session_path(), session::path());
  const record::FlightHeader& header = session::file()->header;
  EXPECT_EQ(header.python_version, (3u << 16) | 11);
  EXPECT_EQ(header.is_kernel, 1u);
  EXPECT_STREQ(header.connection_file, "/run/user/kernel-1.json");
  EXPECT_STREQ(header.notebook, "a.ipynb");
  set_python((3 << 16) | 11, false, nullptr, nullptr);
  EXPECT_EQ(header.is_kernel, 0u);
  set_cell(7, "a = 1");
  EXPECT_EQ(header.cell, 7u);
  EXPECT_STREQ(header.cell_source, "a = 1");
  name_cell(7, "/tmp/ipykernel_1/2.py");
  EXPECT_EQ(header.cells[7].number, 7u);
}

ENGINE_TEST(AnEndThatWasAskedForStaysOne) {
  const Folder folder;
  session::start(folder.path().c_str(), 1, 1, 0, "");
  asked_to_end();
  session::finish();
  EXPECT_EQ(session::file()->header.end_state, static_cast<uint32_t>(record::EndState::kAsked));
}

// The child's refusals are numbered from one again: what its parent had shown says nothing of them.
ENGINE_TEST(AForkedChildShowsItsOwnRefusals) {
  const Folder folder;
  session::start(folder.path().c_str(), 1, 1, 0, "");
  for (int i = 0; i < 5; ++i) refuse();
  surfaced(5, "");
  expect_in_child([] {
    session::on_fork_child();
    refuse();
    EXPECT_EQ(unsurfaced_refusal(0), 1u);
    surfaced(1, "");
    EXPECT_EQ(unsurfaced_refusal(0), 0u);
  });
  EXPECT_EQ(unsurfaced_refusal(0), 0u);
}

}  // namespace
}  // namespace oomguard::engine
