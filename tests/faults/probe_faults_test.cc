// Every system call of the kernel's readers fails once: less is known, nothing is lost or held.
#include <fcntl.h>
#include <gtest/gtest.h>

#include "collector/probe/killers.h"
#include "collector/probe/probe.h"
#include "collector/probe/process.h"
#include "collector/probe/residency.h"
#include "shim/budget/callers.h"
#include "shim/budget/rust_module.h"
#include "shim/children/inspect.h"
#include "tests/faults/each_failure.h"

namespace oomguard::faults {
namespace {

// Descriptors of a probe to which nothing happens.
int descriptors_of_a_probe() {
  const int before = open_descriptors();
  static probe::Probe untouched;
  probe::Reading reading;
  EXPECT_TRUE(untouched.open({}));
  untouched.refresh();
  EXPECT_TRUE(untouched.read(probe::Depth::kFull, &reading));
  untouched.oom_kills();
  return open_descriptors() - before;
}

TEST(ProbeFaultsTest, AProbeReadsOnWhenTheKernelAnswersAgain) {
  each_failure([](const Plan& plan) {
    const int usual = descriptors_of_a_probe();
    static probe::Probe probe;
    probe::Reading reading;
    const int before = open_descriptors();
    arm(plan);
    static_cast<void>(probe.open({}));
    for (int i = 0; i < 3; ++i) {
      static_cast<void>(probe.read(i == 1 ? probe::Depth::kFull : probe::Depth::kCheap, &reading));
      probe.refresh();
    }
    probe.oom_kills();
    int32_t pids[4];
    probe::list_group(probe, pids, 4);
    disarm();
    probe.refresh();
    EXPECT_TRUE(probe.read(probe::Depth::kFull, &reading));
    EXPECT_GT(reading.level_count, 0u);
    // Groups that were found twice are open twice, until the process is moved.
    EXPECT_LE(open_descriptors() - before, 2 * usual);
  });
}

TEST(ProbeFaultsTest, ResidencyAnswersOrSaysThatItCannot) {
  each_failure([](const Plan& plan) {
    const test::Mapped block(1 << 20);
    block.touch(0, 1 << 19);
    const int before = open_descriptors();
    probe::Residency residency;
    arm(plan);
    const bool usable = residency.open();
    const int64_t touched = residency.touched_bytes(block.address(), 1 << 20);
    residency.in_file(block.address());
    residency.resident_text();
    disarm();
    EXPECT_TRUE(touched == -1 || (usable && touched == 1 << 19)) << touched;
    EXPECT_LE(open_descriptors(), before + 1);
  });
}

TEST(ProbeFaultsTest, ReadersOfOtherProcessesHoldNothing) {
  each_failure(
      [](const Plan& plan) {
        const int before = open_descriptors();
        arm(plan);
        probe::ProcessStatus self;
        const bool known = probe::read_status(getpid(), &self);
        static_cast<void>(probe::own_memory());
        static_cast<void>(probe::find_killer_line(probe::Bytes{1} << 34));
        disarm();
        EXPECT_TRUE(!known || self.pid == getpid());
        EXPECT_EQ(open_descriptors(), before);
      },
      {EIO});
}

TEST(ProbeFaultsTest, LookingAtAProgramOrAModuleHoldsNothing) {
  const test::Folder folder;
  const std::string script = folder / "script";
  test::write_file(script, "#!/usr/bin/env python3\n");
  ASSERT_EQ(chmod(script.c_str(), 0700), 0);
  each_failure([&](const Plan& plan) {
    const int before = open_descriptors();
    arm(plan);
    for (const char* path : {"/bin/true", script.c_str(), "/proc/self/exe", "/no/such/file"}) {
      static_cast<void>(children::inspect({path, AT_FDCWD, false}, "/usr/bin:/bin"));
    }
    static_cast<void>(children::inspect({"true", AT_FDCWD, true}, "/nowhere:/usr/bin:/bin"));
    char name[64];
    budget::module_name(reinterpret_cast<uintptr_t>(&open_descriptors), name, sizeof name);
    static_cast<void>(budget::made_by_rust("/proc/self/exe"));
    static_cast<void>(budget::unwinds("/proc/self/exe"));
    disarm();
    EXPECT_EQ(open_descriptors(), before);
  });
}

}  // namespace
}  // namespace oomguard::faults
