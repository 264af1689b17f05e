#include "collector/record/text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/collector/record/fixture.h"

namespace oomguard::record {
namespace {

using probe::LimitKind;

class Text : public testing::Test {
 protected:
  Text() : flight_(make_flight()) {}
  RefusalRecord& refusal() { return flight_->refusals[0]; }
  LevelRecord& limit() { return refusal().levels[1]; }
  std::string rendered(Audience audience) {
    std::string out(8192, '\0');
    out.resize(render(flight_->header, refusal(), audience, out.data(), out.size()));
    return out;
  }
  std::string note() {
    char out[512];
    return std::string(out, render_note(flight_->header, refusal(), out, sizeof(out)));
  }
  FlightBytes flight_;
};

TEST_F(Text, TellsACellWhatWasStoppedAndWhy) {
  EXPECT_EQ(
      rendered(Audience::kCell),
      "oomguard stopped this cell before the container's memory limit would have killed the "
      "kernel. Your variables are kept.\n"
      "Asked for 1.5 GiB (by numpy: _multiarray_umath.cpython-311-x86_64-linux-gnu.so); limit "
      "6.0 GiB (container /sys/fs/cgroup/memory/x), 5.4 GiB in use.\n"
      "Held:  this process 5.2 GiB (largest blocks 2.0, 1.5, 0.5 GiB by PyTorch: "
      "libtorch_cpu.so), other processes on the same limit: python 812 0.2 GiB\n"
      "More:  oomguard report --last      Off: OOMGUARD=0, then restart the kernel\n");
}

TEST_F(Text, TellsAScriptWithoutSpeakingOfCells) {
  const std::string text = rendered(Audience::kScript);
  EXPECT_EQ(text.find("oomguard stopped this program before the container's"), 0u);
  EXPECT_EQ(text.find("variables"), std::string::npos);
  EXPECT_NE(text.find("Off: OOMGUARD=0\n"), std::string::npos);
}

TEST_F(Text, ShowsWhereOnlyWhenItIsKnown) {
  EXPECT_EQ(rendered(Audience::kCell).find("At:"), std::string::npos);
  strcpy(refusal().where, "cell [4] line 2: x = f(y)\ncalled from g()");
  EXPECT_NE(rendered(Audience::kCell)
                .find("\nAt:    cell [4] line 2: x = f(y)\n       called from g()\nHeld:"),
            std::string::npos);
}

TEST_F(Text, NamesTheVariablesOfANotebookUnderWhatIsHeld) {
  strcpy(refusal().where, "cell [4] line 2: x = f(y)\nvariables: df 2.0 GiB, x 0.1 GiB");
  const std::string text = rendered(Audience::kCell);
  EXPECT_NE(text.find("\nAt:    cell [4] line 2: x = f(y)\nHeld:  this"), std::string::npos);
  EXPECT_NE(text.find("\n       variables: df 2.0 GiB, x 0.1 GiB\nMore:"), std::string::npos);
  strcpy(refusal().where, "variables: df 2.0 GiB");
  EXPECT_EQ(rendered(Audience::kCell).find("At:"), std::string::npos);
}

TEST_F(Text, StaysWithinTwelveLinesInACell) {
  std::fill(std::begin(refusal().where), std::end(refusal().where), '\n');
  refusal().neighbour_count = 0xffffffff;
  const std::string text = rendered(Audience::kCell);
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 12);
}

TEST_F(Text, SaysThatEarlierMemoryWasBeingFilled) {
  refusal().kind = static_cast<uint32_t>(RequestKind::kTouch);
  refusal().outcome = static_cast<uint32_t>(Outcome::kException);
  const std::string text = rendered(Audience::kCell);
  EXPECT_NE(text.find("\nMemory that had been granted earlier was being filled; limit 6.0 GiB"),
            std::string::npos);
  EXPECT_EQ(text.find("Asked for"), std::string::npos);
}

TEST_F(Text, SaysThatAReportedRefusalWasGranted) {
  refusal().outcome = static_cast<uint32_t>(Outcome::kReported);
  EXPECT_EQ(rendered(Audience::kScript).find("oomguard would have stopped this program before"),
            0u);
}

TEST_F(Text, PointsToNoReportWhereNothingIsInAFile) {
  memset(flight_->header.magic, 0, sizeof flight_->header.magic);
  EXPECT_NE(rendered(Audience::kScript).find("\nMore:  not recorded, since the folder of sessions"),
            std::string::npos);
  EXPECT_EQ(rendered(Audience::kScript).find("oomguard report"), std::string::npos);
  EXPECT_EQ(note().find("oomguard report"), std::string::npos);
}

TEST_F(Text, NamesEachKindOfLimitInPlainWords) {
  const struct {
    LimitKind kind;
    const char* words;
  } kCases[] = {{LimitKind::kCgroupV2, "(container /sys"},
                {LimitKind::kMachine, "(this machine's memory)"},
                {LimitKind::kRlimitAs, "ulimit -v"},
                {LimitKind::kRlimitData, "ulimit -d"},
                {LimitKind::kBudget, "(budget)"}};
  for (const auto& one : kCases) {
    limit().kind = static_cast<uint32_t>(one.kind);
    EXPECT_NE(rendered(Audience::kCell).find(one.words), std::string::npos) << one.words;
  }
  limit().kind = 99;
  EXPECT_NE(rendered(Audience::kCell).find("before memory ran out"), std::string::npos);
}

TEST_F(Text, TellsOfAGpusMemoryWhatThisProcessHoldsThere) {
  refusal().kind = static_cast<uint32_t>(RequestKind::kGpu);
  refusal().request_bytes = 3 * kGiB;
  refusal().recorded_bytes = 18 * kGiB;
  refusal().block_count = 1;
  refusal().blocks[0] = {0x1000, 16 * kGiB, -1, 0, "pool"};
  refusal().neighbour_count = 0;
  limit().kind = static_cast<uint32_t>(LimitKind::kGpu);
  limit().limit_bytes = 20 * kGiB;
  limit().usage_bytes = 18 * kGiB;
  limit().reclaimable_bytes = 0;
  strcpy(limit().path, "GPU 1");
  std::string text = rendered(Audience::kCell);
  EXPECT_EQ(text.find("oomguard stopped this cell at the limit on its GPU memory. Your variables"),
            0u);
  EXPECT_NE(text.find("\nAsked for 3.0 GiB of GPU memory"), std::string::npos);
  EXPECT_NE(text.find("; limit 20.0 GiB (GPU 1), 18.0 GiB in use.\n"), std::string::npos);
  EXPECT_NE(text.find("\nHeld:  this process 18.0 GiB (largest block 16.0 GiB by pool)\n"),
            std::string::npos);
  EXPECT_NE(note().find("oomguard refused 3.0 GiB; 18.0 GiB of 20.0 GiB in use (GPU 1)"),
            std::string::npos);
  refusal().outcome = static_cast<uint32_t>(Outcome::kByDriver);
  text = rendered(Audience::kScript);
  EXPECT_EQ(text.find("The GPU had no memory left for this program.\n"), 0u);
}

TEST_F(Text, ListsTheCardsThatTheProcessUsed) {
  EXPECT_EQ(rendered(Audience::kFull).find("GPU memory of this process"), std::string::npos);
  GpuRecord& gpu = flight_->header.gpus[1];
  gpu.total_bytes = 80 * kGiB;
  gpu.budget_bytes = 20 * kGiB;
  gpu.held_bytes = 18 * kGiB;
  gpu.peak_bytes = 19 * kGiB;
  gpu.by_account[static_cast<uint32_t>(GpuAccount::kPool)] = 18 * kGiB;
  gpu.by_account[static_cast<uint32_t>(GpuAccount::kManaged)] = kGiB;
  strcpy(gpu.name, "Card");
  EXPECT_NE(rendered(Audience::kFull)
                .find("\nGPU memory of this process:\n  GPU 1 Card: 18.0 GiB, at most 19.0 GiB, "
                      "budget 20.0 GiB; pools 18.0 GiB; managed beside 1.0 GiB\n"),
            std::string::npos);
  gpu.budget_bytes = INT64_MAX;
  EXPECT_NE(rendered(Audience::kFull).find("budget auto;"), std::string::npos);
  EXPECT_EQ(rendered(Audience::kCell).find("GPU memory of this process"), std::string::npos);
}

TEST_F(Text, UsesMebibytesBelowALimitOfOneGibibyte) {
  limit().limit_bytes = 600 * kMiB;
  limit().usage_bytes = 590 * kMiB;
  limit().reclaimable_bytes = 0;
  refusal().request_bytes = 40;
  const std::string text = rendered(Audience::kCell);
  EXPECT_NE(text.find("Asked for 40 bytes"), std::string::npos);
  EXPECT_NE(text.find("limit 600 MiB"), std::string::npos);
  EXPECT_NE(text.find("590 MiB in use"), std::string::npos);
  EXPECT_EQ(text.find("GiB"), std::string::npos);
}

TEST_F(Text, NamesLinesOfCodeAsFarAsTheyAreKnown) {
  refusal().holder_count = 3;
  refusal().holders[0] = {3 * kGiB, 12, 1, 0, "/home/me/train.py", "load"};
  refusal().holders[1] = {kGiB, 0, 0, 0, "/usr/bin/python3.11", ""};
  refusal().holders[2] = {kGiB / 2, 0, 0, 1, "/home/me/lib/x.py", "made"};
  EXPECT_NE(rendered(Audience::kCell)
                .find("Lines: train.py:12 load \u2014 3.0 GiB\n"
                      "       Python \u2014 1.0 GiB\n"
                      "       x.py made (in a thread) \u2014 0.5 GiB\n"),
            std::string::npos)
      << rendered(Audience::kCell);
}

TEST_F(Text, GroupsBlocksByTheModuleThatAsked) {
  strcpy(refusal().blocks[0].module, "other.so");
  refusal().blocks[1].touched_bytes = 0;  // granted, but nothing of it is there
  EXPECT_NE(rendered(Audience::kCell)
                .find("(largest blocks 1.5 GiB by PyTorch: libtorch_cpu.so, 0.5 GiB by other.so)"),
            std::string::npos);
}

TEST_F(Text, WorksWithoutAnyLevelBlockOrNeighbour) {
  refusal().level_count = refusal().block_count = refusal().neighbour_count = 0;
  refusal().module[0] = '\0';
  EXPECT_EQ(rendered(Audience::kScript),
            "oomguard stopped this program before memory ran out.\n"
            "Asked for 1.5 GiB.\n"
            "Held:  this process 5.2 GiB\n"
            "More:  oomguard report --last      Off: OOMGUARD=0\n");
}

TEST_F(Text, HoldsEveryNumberInTheFullReport) {
  const std::string text = rendered(Audience::kFull);
  for (const char* part :
       {"Program: python3 train.py",
        "2023-11-14 22:13:20.123 UTC, process 4242, thread 4243 (python3)",
        "Number:  3 of 3, incident 2", "request          1.5 GiB", "headroom         614 MiB",
        "reserve          96 MiB", "in flight        7 MiB", "pending          5 MiB",
        "large blocks     3, together 4.0 GiB", "attributed       4.5 GiB",
        "* container /sys/fs/cgroup/memory/x: limit 6.0 GiB",
        "  this machine's memory: limit 24.0 GiB, usage 7.0 GiB",
        "2.0 GiB, filled 2.0 GiB, 1.2 s old, by PyTorch: libtorch_cpu.so", "812 python 205 MiB"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST_F(Text, NotesARefusalInOneLine) {
  EXPECT_EQ(
      note(),
      "oomguard refused 1.5 GiB; 5.4 GiB of 6.0 GiB in use (container /sys/fs/cgroup/memory/x); "
      "held: this process 5.2 GiB, other processes on the same limit: python 812 0.2 GiB; more: "
      "oomguard report --last");
  strcpy(limit().path, "/sys/fs/cgroup/user.slice/user-1000.slice/app.slice/lab.scope");
  EXPECT_NE(note().find(" in use (container …/lab.scope); "), std::string::npos) << note();
  refusal().kind = static_cast<uint32_t>(RequestKind::kTouch);
  EXPECT_EQ(note().find("oomguard: memory granted earlier was being filled; 5.4 GiB of"), 0u);
}

TEST_F(Text, CutsAtALinesEndInEveryCapacity) {
  const std::string whole = rendered(Audience::kFull);
  for (size_t capacity = 0; capacity <= whole.size() + 1; ++capacity) {
    std::string out(whole.size() + 8, '#');
    const size_t length = render(flight_->header, refusal(), Audience::kFull, out.data(), capacity);
    ASSERT_EQ(out.compare(0, length, whole, 0, length), 0) << capacity;
    ASSERT_TRUE(length == 0 || out[length - 1] == '\n') << capacity;
    ASSERT_EQ(out.find_first_not_of('#', capacity), std::string::npos) << capacity;
  }
}

TEST_F(Text, SurvivesARecordFullOfAnyByte) {
  for (const int byte : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
    auto* bytes = reinterpret_cast<unsigned char*>(&refusal());
    std::fill(bytes, bytes + sizeof(RefusalRecord), static_cast<unsigned char>(byte));
    const std::string text = rendered(Audience::kFull);
    EXPECT_EQ(text.find("oomguard stopped this program"), 0u) << byte;
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    note();
  }
}

}  // namespace
}  // namespace oomguard::record
