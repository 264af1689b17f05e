#include "collector/verdict/kernel_log.h"

#include <gtest/gtest.h>

namespace oomguard::verdict {
namespace {

// As Linux 6.1 wrote it, in a machine and in User Mode Linux, which leaves out the CPU sets.
constexpr std::string_view kLeaf =
    "[   15.552007] python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, "
    "oom_score_adj=0\n"
    "[   15.554609] memory: usage 204800kB, limit 204800kB, failcnt 29\n"
    "[   15.554949] anon 209215488\n               file 0\n               kernel 499712\n"
    "[   15.555310] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/p/g,task_memcg=/p/g,task=python,pid=165,uid=0\n"
    "[   15.556411] Memory cgroup out of memory: Killed process 165 (python) total-vm:214908kB, "
    "anon-rss:204220kB, file-rss:6180kB, shmem-rss:0kB, UID:0 pgtables:460kB oom_score_adj:0\n";
constexpr std::string_view kMachine =
    "[   17.087696] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,"
    "global_oom,task_memcg=/p/g,task=eat,pid=137,uid=0\n"
    "[   17.089078] Out of memory: Killed process 137 (eat) total-vm:435756kB, anon-rss:431868kB, "
    "file-rss:0kB, shmem-rss:64kB, UID:0 pgtables:880kB oom_score_adj:0\n";
constexpr std::string_view kWhole =
    "[   29.420000] "
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/p,task_memcg=/p/g,"
    "task=eat,pid=875,uid=0\n"
    "[   29.420000] Memory cgroup out of memory: Killed process 875 (eat) total-vm:206360kB, "
    "UID:0\n"
    "[   29.420000] Tasks in /p are going to be killed due to memory.oom.group set\n"
    "[   29.430000] Memory cgroup out of memory: Killed process 873 (sleep) total-vm:2892kB, "
    "UID:0\n";

TEST(KernelLog, NamesTheLimitOfAGroup) {
  const auto events = parse_kernel_log(kLeaf);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, LogEvent::Kind::kOutOfMemory);
  EXPECT_EQ(events[0].at_ns, 15'556'411'000);
  EXPECT_EQ(events[0].pid, 165);
  EXPECT_EQ(events[0].name, "python");
  EXPECT_EQ(events[0].group, "/p/g");
  EXPECT_FALSE(events[0].machine);
}

TEST(KernelLog, NamesTheMachine) {
  const auto events = parse_kernel_log(kMachine);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].machine);
  EXPECT_EQ(events[0].group, "");
}

TEST(KernelLog, AWholeGroupGoesByOneCause) {
  const auto events = parse_kernel_log(kWhole);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_FALSE(events[0].whole_group);
  EXPECT_EQ(events[1].pid, 873);
  EXPECT_EQ(events[1].group, "/p");
  EXPECT_TRUE(events[1].whole_group);
}

TEST(KernelLog, AVictimWithoutItsCauseHasNoGroup) {
  const auto events = parse_kernel_log(
      "[1.000000] "
      "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/p,task_memcg=/p,task=a,pid=7,uid=0\n"
      "[1.000001] Memory cgroup out of memory: Killed process 8 (b) total-vm:1kB, UID:0\n");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].group, "");
  EXPECT_FALSE(events[0].machine);
}

TEST(KernelLog, ReadsEveryFormOfStamp) {
  const std::string message = "Out of memory: Killed process 9 (x) total-vm:1kB, UID:0\n";
  for (const char* stamp :
       {"[    2.500000] ", "<3>[    2.500000] ", "[    2.500000][   T165] ",
        "<3>[    2.500000][   C0] ", "3,339,2500000,-;", "3,339,2500000,c,caller=T1;"}) {
    const auto events = parse_kernel_log(stamp + message);
    ASSERT_EQ(events.size(), 1u) << stamp;
    EXPECT_EQ(events[0].at_ns, 2'500'000'000) << stamp;
  }
  const auto bare = parse_kernel_log(message);
  ASSERT_EQ(bare.size(), 1u);
  EXPECT_EQ(bare[0].at_ns, -1);
}

TEST(KernelLog, NamesAreWhatTheProgramChose) {
  const auto events = parse_kernel_log(
      "[1.000000] "
      "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/a,b,task_memcg=/"
      "a,b,task=x,pid=1,pid=8,uid=0\n"
      "[1.000001] Memory cgroup out of memory: Killed process 8 (x) (y)) total-vm:1kB, UID:0\n");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].name, "x) (y)");
  EXPECT_EQ(events[0].group, "/a,b");
}

TEST(KernelLog, FindsFaultsAndTheirModule) {
  const auto events = parse_kernel_log(
      "[5.000001] python[165]: segfault at 0 ip 00007f1e sp 00007ffc error 4 in "
      "libx.so[7f1e000+1000] "
      "likely on CPU 1 (core 0, socket 0)\n"
      "[5.000002] traps: Web Content[166] general protection fault ip:7f10 sp:7ffd error:0 in "
      "lib y.so[7f1+2]\n"
      "[5.000003] traps: a[b[167] trap invalid opcode ip:7f10 sp:7ffd error:0 in z[7f1+2]\n"
      "[5.000004] python[168]: segfault at 10 ip 10 sp 20 error 14\n");
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].kind, LogEvent::Kind::kFault);
  EXPECT_EQ(events[0].fault, "segmentation fault");
  EXPECT_EQ(events[0].module, "libx.so");
  EXPECT_EQ(events[1].pid, 166);
  EXPECT_EQ(events[1].fault, "general protection fault");
  EXPECT_EQ(events[2].name, "a[b");
  EXPECT_EQ(events[2].fault, "invalid instruction");
  EXPECT_EQ(events[3].module, "");
}

TEST(KernelLog, WhatHasNoKnownFormIsSkipped) {
  for (const std::string_view text :
       {"", "\n\n", "[", "<", "<3>[", "[1.0]", "[   1.000000][", "Out of memory: Killed process ",
        "Out of memory: Killed process 99999999999 (x) total-vm:", "Killed process 5 (x) total-vm:",
        "Out of memory: Killed process 5 (x", "oom-kill:constraint=CONSTRAINT_MEMCG,pid=", "9,9,9",
        "x[1]: segfault", "[]: segfault at ", "[1]: segfault at 0", "traps: ] trap int3 ip:"}) {
    for (const LogEvent& event : parse_kernel_log(text)) {
      EXPECT_EQ(event.kind, LogEvent::Kind::kFault) << text;
    }
  }
  const std::string cut(kLeaf.substr(0, kLeaf.size() - 200));
  EXPECT_TRUE(parse_kernel_log(cut).empty());
}

}  // namespace
}  // namespace oomguard::verdict
