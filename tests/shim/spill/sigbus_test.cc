#include "shim/spill/sigbus.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>
#include <vector>

#include "shim/spill/ranges.h"
#include "tests/shim/spill/harness.h"

namespace oomguard::spill {
namespace {

using test::in_child;

constexpr size_t kBlock = 32 * 1024 * 1024;

// The signal that a full disk sends to whoever writes to this page.
void fault_at(const char* address) {
  siginfo_t info{};
  info.si_signo = SIGBUS;
  info.si_code = BUS_ADRERR;
  info.si_addr = const_cast<char*>(address);
  sys::call(SYS_rt_tgsigqueueinfo, getpid(), sys::call(SYS_gettid), SIGBUS, sys::as_arg(&info));
}

// A page behind the end of its file: a fault that is nobody's of ours.
char* page_without_file() {
  const int fd = memfd_create("short", MFD_CLOEXEC);
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return static_cast<char*>(page);
}

bool is_private(const char* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long start = 0;
    unsigned long end = 0;
    char permissions[8] = "";
    if (sscanf(line.c_str(), "%lx-%lx %7s", &start, &end, permissions) != 3) continue;
    const auto at = reinterpret_cast<unsigned long>(address);
    if (at >= start && at < end) return permissions[3] == 'p';
  }
  return false;
}

sigjmp_buf g_way_out;
volatile sig_atomic_t g_calls = 0;
void own_handler(int) {
  g_calls = g_calls + 1;
  siglongjmp(g_way_out, 1);
}
volatile uintptr_t g_seen_address = 0;
void own_handler_with_address(int, siginfo_t* info, void*) {
  g_seen_address = reinterpret_cast<uintptr_t>(info->si_addr);
  siglongjmp(g_way_out, 1);
}

class Sigbus : public testing::Test {
 protected:
  void SetUp() override { OOMGUARD_SKIP_UNDER_SANITIZER(); }
};

TEST_F(Sigbus, APageThatTheDiskHasNoRoomForBecomesPrivate) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(block.data(), 4 * kMiB, 5 * kMiB, 1);
    char* held = block.data() + 4 * kMiB + 8192;
    char* empty = block.data() + 16 * kMiB;
    EXPECT_FALSE(is_private(held) || is_private(empty));
    fault_at(held);
    fault_at(empty);
    EXPECT_TRUE(is_private(held) && is_private(empty));
    EXPECT_FALSE(is_private(empty + 8192)) << "only that page";
    EXPECT_EQ(wrong(block.data(), 4 * kMiB, 5 * kMiB, 1), 0u);
    fill(block.data(), 0, kBlock, 2);
    EXPECT_EQ(wrong(block.data(), 0, kBlock, 2), 0u);
  });
}

// Threads that fail at the same page at once: what one writes, once it is private, is not undone.
TEST_F(Sigbus, ThreadsThatFailAtTheSamePageLoseNothing) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    constexpr size_t kPages = 300;
    char* pages = block.data() + kMiB - reinterpret_cast<uintptr_t>(block.data()) % 4096;
    std::atomic<size_t> at[2] = {};
    std::vector<std::thread> threads;
    for (size_t self = 0; self < 2; ++self) {
      threads.emplace_back([&, self] {
        for (size_t page = 0; page < kPages; ++page) {
          at[self].store(page + 1);
          while (at[1 - self].load() <= page) sched_yield();
          fault_at(pages + page * 4096);
          *reinterpret_cast<volatile uint64_t*>(pages + page * 4096 + self * 8) = page + 1;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    size_t lost = 0;
    for (size_t page = 0; page < kPages; ++page) {
      const auto* word = reinterpret_cast<uint64_t*>(pages + page * 4096);
      lost += word[0] != page + 1 || word[1] != page + 1;
    }
    EXPECT_EQ(lost, 0u);
  });
}

TEST_F(Sigbus, APageThatCameBackMeanwhileIsTriedAgain) {
  expect_in_child([] {
    configure();
    Raw raw;
    HeapBlock block(kBlock);
    ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    fill(block.data(), 4 * kMiB, 5 * kMiB, 1);
    fault_at(block.data() + 4 * kMiB);
    while (active()) test::give_back(raw, kBlock);
    EXPECT_EQ(test::lent_mappings(), 0u);
    fault_at(block.data() + 4 * kMiB);
    fault_at(block.data() + 16 * kMiB);
    EXPECT_EQ(wrong(block.data(), 4 * kMiB, 5 * kMiB, 1), 0u);
  });
}

TEST_F(Sigbus, ItIsAnsweredAfterTheFileIsGone) {
  expect_in_child([] {
    configure();
    HeapBlock block(kBlock);
    {
      Raw raw;
      ASSERT_EQ(lend(raw).outcome, Outcome::kLent);
    }
    fill(block.data(), 0, kBlock, 2);
    fault_at(block.data() + kMiB);
    EXPECT_TRUE(is_private(block.data() + kMiB));
    EXPECT_EQ(wrong(block.data(), 0, kBlock, 2), 0u);
  });
}

TEST_F(Sigbus, EveryOtherFaultGoesToTheHandlerThatWasThere) {
  expect_in_child([] {
    signal(SIGBUS, own_handler);
    answer_sigbus();
    volatile char* page = page_without_file();
    if (sigsetjmp(g_way_out, 1) == 0) *page = 1;
    EXPECT_EQ(g_calls, 1);
    if (sigsetjmp(g_way_out, 1) == 0) raise(SIGBUS);
    EXPECT_EQ(g_calls, 2);
    struct sigaction with_address{};
    with_address.sa_sigaction = own_handler_with_address;
    with_address.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &with_address, nullptr);
    answer_sigbus();
    if (sigsetjmp(g_way_out, 1) == 0) *page = 1;
    EXPECT_EQ(g_seen_address, reinterpret_cast<uintptr_t>(page));
  });
}

TEST_F(Sigbus, WithoutAHandlerItEndsTheProcessAsBefore) {
  const int fault = in_child([] {
    answer_sigbus();
    *static_cast<volatile char*>(page_without_file()) = 1;
  });
  EXPECT_TRUE(WIFSIGNALED(fault) && WTERMSIG(fault) == SIGBUS) << fault;
  const int sent = in_child([] {
    answer_sigbus();
    raise(SIGBUS);
  });
  EXPECT_TRUE(WIFSIGNALED(sent) && WTERMSIG(sent) == SIGBUS) << sent;
}

// What cannot be read was on the disk and is lost: zeros in its place would be a lie.
TEST_F(Sigbus, APageThatCannotBeReadIsNotReplaced) {
  const int status = in_child([] {
    char* page = page_without_file();
    ranges.add(reinterpret_cast<uintptr_t>(page), reinterpret_cast<uintptr_t>(page),
               reinterpret_cast<uintptr_t>(page) + 4096, 0);
    answer_sigbus();
    *static_cast<volatile char*>(page) = 1;
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) << status;
}

}  // namespace
}  // namespace oomguard::spill
