// Admission against a real memory cgroup: nobody is killed, and what fits is granted.
#include <gtest/gtest.h>

#include "shim/budget/gate.h"
#include "shim/core/session.h"
#include "tests/shim/budget/harness.h"
#include "tests/shim/budget/memory_group.h"
#include "tests/shim/budget/modules.h"

namespace oomguard::budget {
namespace {

using test::Folder;
using test::guard;
using test::expect_in_child;
using test::interpreter_caller;
using test::Mapped;
using test::MemoryGroup;

bool ask(Bytes size, const void* caller = interpreter_caller()) {
  const Admission admission(record::RequestKind::kMalloc, static_cast<size_t>(size), caller);
  return admission.granted();
}

options::Values with_reserve(Bytes reserve) {
  options::Values values;
  values.reserve_bytes = reserve;
  return values;
}

class GateGroupTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!group_.ready()) GTEST_SKIP() << group_.reason();
  }
  // Runs `body` in a child that is a member of the group, with the gate on.
  template <typename Body>
  void in_group(Body body) {
    expect_in_child([&] {
      ASSERT_TRUE(group_.join());
      guard(with_reserve(16 * kMiB));
      body();
    });
  }

  MemoryGroup group_{128 * kMiB};
};

TEST_F(GateGroupTest, AForkLeavesHalfOfTheReserve) {
  OOMGUARD_SKIP_UNDER_TSAN();
  in_group([] {
    const auto fork_is_granted = [] {
      const Admission admission(record::RequestKind::kFork, kMiB, interpreter_caller());
      return admission.granted();
    };
    EXPECT_TRUE(fork_is_granted());
    const auto left = [](Bytes bytes) {
      probe::Reading reading;
      probe::Headroom headroom;
      ASSERT_TRUE(gate.look(probe::Depth::kFull, sys::monotonic_ns(), &reading, &headroom));
      static Mapped* filled = nullptr;
      filled = new Mapped(headroom.bytes - bytes);  // the child ends with them
      filled->touch();
    };
    left(12 * kMiB);
    EXPECT_TRUE(fork_is_granted());
    left(7 * kMiB);
    EXPECT_FALSE(fork_is_granted());
    EXPECT_EQ(session::file()->refusals[0].kind, static_cast<uint32_t>(record::RequestKind::kFork));
    EXPECT_TRUE(fork_is_granted()) << "its exception is on its way: a quarter";
  });
}

TEST_F(GateGroupTest, GrantsWhatFitsAndRefusesWhatDoesNot) {
  in_group([] {
    EXPECT_TRUE(ask(64 * kMiB));
    EXPECT_TRUE(ask(100 * kMiB));
    EXPECT_FALSE(ask(126 * kMiB));
    const record::RefusalRecord& refusal = session::file()->refusals[0];
    bool binds = false;
    for (uint32_t i = 0; i < refusal.level_count; ++i) {
      if (refusal.levels[i].binds == 0) continue;
      binds = refusal.levels[i].limit_bytes == 128 * kMiB &&
              std::string(refusal.levels[i].path).find("oomguard-unit") != std::string::npos;
    }
    EXPECT_TRUE(binds) << "the group's own limit is named";
  });
}

TEST_F(GateGroupTest, GrowthIsRefusedShortlyBeforeTheLimitAndNotKilled) {
  in_group([this] {
    Bytes filled = 0;
    for (; filled < 256 * kMiB; filled += 2 * kMiB) {
      Admission admission(record::RequestKind::kMmap, 2 * kMiB, interpreter_caller());
      if (!admission.granted()) break;
      auto* block = new Mapped(2 * kMiB);  // held to the end
      admission.block(reinterpret_cast<void*>(block->address()), 2 * kMiB, false);
      block->touch();
    }
    EXPECT_LT(filled, 128 * kMiB);
    EXPECT_GT(group_.usage() + 2 * kMiB, 128 * kMiB - 16 * kMiB - 2 * kMiB);
    EXPECT_TRUE(gate.incident.grace());
  });
}

// Granted and filled, it would be the kernel's reason to kill before the watchdog looks again.
TEST_F(GateGroupTest, WhatIsMoreThanAllThatIsLeftIsRefusedToAnybodyWhoMayHandleIt) {
  OOMGUARD_SKIP_UNDER_SANITIZERS();
  in_group([this] {
    const test::Folder folder;
    const void* openmp = reinterpret_cast<const void*>(test::map_module(folder / "libgomp.so.1"));
    const void* libc = reinterpret_cast<const void*>(&strlen);
    Mapped held(128 * kMiB);
    size_t filled = 0;
    for (; group_.usage() < 120 * kMiB && filled < 128 * kMiB; filled += kMiB) {
      held.touch(filled, filled + kMiB);
    }
    EXPECT_TRUE(ask(4 * kMiB, libc)) << "under the line, but there";
    EXPECT_TRUE(ask(64, libc));
    EXPECT_FALSE(ask(9 * kMiB, libc));
    EXPECT_FALSE(ask(9 * kMiB, nullptr));
    EXPECT_TRUE(ask(64, libc));
    EXPECT_TRUE(ask(9 * kMiB, openmp)) << "it would abort on NULL";
  });
}

TEST_F(GateGroupTest, InAProgramOfCSmallRequestsAreRefusedToo) {
  OOMGUARD_SKIP_UNDER_SANITIZERS();
  in_group([this] {
    gate.set_only_c(true);
    const test::Folder folder;
    const void* openmp = reinterpret_cast<const void*>(test::map_module(folder / "libgomp.so.1"));
    const void* libc = reinterpret_cast<const void*>(&strlen);
    Mapped held(128 * kMiB);
    size_t filled = 0;
    for (; group_.usage() < 112 * kMiB && filled < 128 * kMiB; filled += kMiB) {
      held.touch(filled, filled + kMiB);
    }
    EXPECT_TRUE(ask(64, libc)) << "half of the reserve is left";
    for (; group_.usage() < 120 * kMiB && filled < 128 * kMiB; filled += kMiB) {
      held.touch(filled, filled + kMiB);
    }
    int asked = 0;
    while (asked < 100 && ask(32 * 1024, libc)) ++asked;
    EXPECT_EQ(asked, kDipBurst / (32 * 1024)) << "a thread's trickle, then the line";
    EXPECT_FALSE(ask(5 * kMiB, libc)) << "a refusal opens half of that";
    EXPECT_TRUE(ask(32 * 1024, openmp)) << "it would abort on NULL";
  });
}

// The text of libraries is in the cache of whoever read it first: this group cannot give it back.
TEST_F(GateGroupTest, TextThatIsChargedToAnotherGroupIsNoRoom) {
  OOMGUARD_SKIP_UNDER_SANITIZERS();
  in_group([this] {
    const void* libc = reinterpret_cast<const void*>(&strlen);
    Mapped held(128 * kMiB);
    size_t filled = 0;
    for (; group_.usage() < 120 * kMiB && filled < 128 * kMiB; filled += kMiB) {
      held.touch(filled, filled + kMiB);
    }
    gate.probe.set_resident_text(64 * kMiB);
    EXPECT_FALSE(ask(12 * kMiB, libc));
    EXPECT_TRUE(ask(64, libc));
  });
}

TEST_F(GateGroupTest, PageCacheIsNoReasonToRefuse) {
  in_group([this] {
    const Folder folder;
    const std::string path = folder / "cached";
    const std::string chunk(1 << 20, 'x');
    {
      std::ofstream file(path, std::ios::binary);
      for (int i = 0; i < 100; ++i) file << chunk;
    }
    {
      std::ifstream file(path, std::ios::binary);
      std::string read(1 << 20, '\0');
      while (file.read(read.data(), 1 << 20)) {
      }
    }
    if (group_.usage() < 60 * kMiB) GTEST_SKIP() << "files here do not go through the page cache";
    EXPECT_TRUE(ask(80 * kMiB));
    EXPECT_FALSE(ask(126 * kMiB));
  });
}

TEST_F(GateGroupTest, SharedMemoryCountsAsHeld) {
  OOMGUARD_SKIP_UNDER_TSAN();
  in_group([] {
    const Mapped shared(64 * kMiB, MAP_SHARED);
    EXPECT_TRUE(ask(90 * kMiB));
    shared.touch();
    EXPECT_FALSE(ask(90 * kMiB));
  });
}

TEST_F(GateGroupTest, ALimitThatWasRaisedCountsAfterTheNextRefresh) {
  in_group([this] {
    EXPECT_FALSE(ask(150 * kMiB));
    ASSERT_TRUE(group_.set_limit(256 * kMiB));
    gate.probe.refresh();
    EXPECT_TRUE(ask(150 * kMiB));
    ASSERT_TRUE(group_.set_limit(128 * kMiB));
    gate.probe.refresh();
    EXPECT_FALSE(ask(150 * kMiB));
  });
}

// A descriptor of the probe's was closed by the program: it goes on, and so does the guard.
TEST_F(GateGroupTest, AProgramThatClosesEveryDescriptorIsStillGuarded) {
  in_group([] {
    for (int fd = 3; fd < 1024; ++fd) close(fd);
    EXPECT_TRUE(ask(64 * kMiB));
    EXPECT_FALSE(ask(126 * kMiB));
    EXPECT_EQ(gate.faults(), 0u);
  });
}

TEST_F(GateGroupTest, AConfiguredBudgetBelowTheGroupsLimitBinds) {
  expect_in_child([&] {
    ASSERT_TRUE(group_.join());
    options::Values values = test::budget_of(64 * kMiB);
    guard(values);
    EXPECT_TRUE(ask(40 * kMiB));
    EXPECT_FALSE(ask(60 * kMiB));
  });
}

}  // namespace
}  // namespace oomguard::budget
