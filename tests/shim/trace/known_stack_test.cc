// Stacks that are read again, after some of their frames have changed: what is known of them must
// never be taken for what is there. Compared is with libgcc's backtrace(3), which remembers none.
#include "shim/trace/known_stack.h"

#include <alloca.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <gtest/gtest.h>
#include <link.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <random>
#include <thread>
#include <vector>

#include "shim/trace/native_stack.h"
#include "tests/shim/trace/shapes.h"

namespace oomguard::trace {
namespace {

constexpr size_t kDeepest = 400;

class KnownStackTest : public testing::Test {
 protected:
  void SetUp() override { prepare_native_stacks(OwnFrames::kShow); }
};

// Whether both readers see the same from here outward, as far as ours goes.
[[gnu::noinline]] bool reads_as_others(size_t capacity, uint64_t hint) {
  uintptr_t ours[kMaxNativeFrames] = {};
  void* theirs[kDeepest];
  const size_t count = read_native_stack(ours, capacity, nullptr, hint);
  const auto got = static_cast<size_t>(backtrace(theirs, kDeepest));
  // Both begin with an address in this function.
  if (count < 2 || count > got || (count < std::min(capacity, got))) return false;
  for (size_t i = 1; i < count; ++i) {
    if (ours[i] != reinterpret_cast<uintptr_t>(theirs[i])) return false;
  }
  return true;
}

// Calls that are nested at random, functions of all shapes in any order, with a look from time to
// time: the next look finds some of the same frames, others in their places, and words on the stack
// that earlier ones left there.
struct Nest {
  std::minstd_rand random;
  int depth = 0;
  int looks = 0;
  int differences = 0;
};

using ShapeFunction = int (*)(Leaf, void*);
constexpr ShapeFunction kShapes[] = {
    shape_plain,         shape_busy_registers, shape_variable_array,  shape_aligned,
    shape_many_arguments, shape_aligned_variable, shape_variadic,     shape_tail_call,
    shape_early_return,  shape_virtual,        shape_inlined,         shape_function_object,
    shape_from_libc,     shape_in_handler};

int nest(void* data) {
  auto* of = static_cast<Nest*>(data);
  const int deepest = 1 + static_cast<int>(of->random() % 12);
  int sum = 0;
  for (unsigned calls = 1 + of->random() % 3; calls > 0; --calls) {
    if (of->depth >= deepest) {
      constexpr size_t kCapacities[] = {kMaxNativeFrames, kMaxNativeFrames, 9, 20};
      ++of->looks;
      if (!reads_as_others(kCapacities[of->random() % 4], of->random() % 3)) ++of->differences;
      continue;
    }
    ++of->depth;
    sum += kShapes[of->random() % std::size(kShapes)](nest, data);
    --of->depth;
  }
  return sum;
}

void nest_often(unsigned seed) {
  Nest of{std::minstd_rand(seed)};
  while (of.looks < 4000) nest(&of);
  EXPECT_EQ(of.differences, 0) << "of " << of.looks << ", seed " << seed;
}

TEST_F(KnownStackTest, IsNeverTakenForAnotherThatLiesAtTheSamePlace) { nest_often(1); }

TEST_F(KnownStackTest, NorForAnotherThreads) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back([i] { nest_often(2 + i); });
  for (std::thread& thread : threads) thread.join();
}

[[gnu::noinline]] bool descend(int depth, size_t capacity) {
  const bool same = depth == 0 ? reads_as_others(capacity, 0) : descend(depth - 1, capacity);
  asm volatile("" : : : "memory");
  return same;
}

TEST_F(KnownStackTest, RecursionOfOtherDepths) {
  std::minstd_rand random(7);
  constexpr size_t kCapacities[] = {7, 12, 60, kMaxNativeFrames};
  for (int i = 0; i < 2000; ++i) {
    const int depth = static_cast<int>(random() % 250);
    EXPECT_TRUE(descend(depth, kCapacities[random() % 4])) << depth;
  }
}

// Two frames whose sizes add up, or one that aligns what the other moved: all below lies where it
// lay, and the old return address still stands where it was, now in the middle of a frame. Which of
// the callers it is that is on the stack only the right word tells.
struct Room {
  size_t size;  // of the outer one
  int (*inner)(Room*);
  bool same;
};

[[gnu::noinline]] int fill_up(Room* of) {
  auto* room = static_cast<volatile char*>(alloca(1024 - of->size));
  room[0] = 1;
  of->same = reads_as_others(kMaxNativeFrames, 0);
  return room[0];
}

[[gnu::noinline]] int align(Room* of) {
  alignas(512) volatile char room[512];
  auto* more = static_cast<volatile char*>(alloca(of->size / 1024 + 16));
  more[0] = 1;
  room[0] = 1;
  of->same = reads_as_others(kMaxNativeFrames, 0);
  return room[0];
}

template <int kNumber>
[[gnu::noinline]] int with_room(Room* of) {
  auto* room = static_cast<volatile char*>(alloca(of->size + 16));
  room[0] = kNumber;
  return of->inner(of) + room[0];
}

constexpr int (*kOuter[])(Room*) = {with_room<1>, with_room<2>};

TEST_F(KnownStackTest, FramesWhoseSizesAddUp) {
  std::minstd_rand random(3);
  for (int i = 0; i < 2000; ++i) {
    const bool fills_up = random() % 2 == 0;
    Room of{random() % 9 * (fills_up ? 64 : 16), fills_up ? fill_up : align, false};
    kOuter[random() % 2](&of);  // one place that calls: what differs is in the middle alone
    EXPECT_TRUE(of.same) << of.size;
  }
}

// A coroutine whose stack is part of the thread's: what a switch leaves on either is not known.
class Inside {
 public:
  [[gnu::noinline]] void switch_often() {
    char memory[128 * 1024];
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = memory;
    inside_.uc_stack.ss_size = sizeof memory;
    current = this;
    makecontext(&inside_, [] { current->run(); }, 0);
    for (int i = 0; i < 50; ++i) {
      swapcontext(&outside_, &inside_);
      good_ += descend(i % 5, kMaxNativeFrames) ? 1 : 0;
    }
    EXPECT_EQ(good_, 100);
  }

 private:
  static inline Inside* current = nullptr;
  [[noreturn]] void run() {
    for (int i = 0;; ++i) {
      good_ += descend(i % 7, kMaxNativeFrames) ? 1 : 0;
      swapcontext(&inside_, &outside_);
    }
  }
  ucontext_t inside_{};
  ucontext_t outside_{};
  int good_ = 0;
};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which follow stacks
TEST_F(KnownStackTest, ACoroutineWithinTheThreadsStack) { Inside().switch_often(); }
#endif

struct Asked {
  size_t count;
  uintptr_t stack[kMaxNativeFrames];
  uint32_t objects[kMaxNativeFrames];
};
int ask(void* data) {
  auto* of = static_cast<Asked*>(data);
  of->count = read_native_stack(of->stack, kMaxNativeFrames, of->objects);
  return 1;
}

// Libraries that are the same but for a constant: each frame lies where the other's lay.
TEST_F(KnownStackTest, ALibraryIsToldFromItsTwinAtTheSamePlace) {
  Asked asked[6] = {};
  for (int i = 0; i < 6; ++i) {
    void* handle = dlopen(i % 2 == 0 ? OOMGUARD_PLUGIN_A : OOMGUARD_PLUGIN_C, RTLD_NOW);
    ASSERT_NE(handle, nullptr) << dlerror();
    const auto call = reinterpret_cast<int (*)(Leaf, void*)>(dlsym(handle, "plugin_call"));
    call(ask, &asked[i]);
    dlclose(handle);
  }
  ASSERT_GT(asked[0].count, 4u);
  if (memcmp(asked[0].stack, asked[1].stack, sizeof asked[0].stack) != 0) {
    GTEST_SKIP() << "the libraries lay at different places";
  }
  constexpr size_t kPlugin = 1;  // ask(), plugin_call()
  for (int i = 1; i < 6; ++i) {
    EXPECT_NE(asked[i].objects[kPlugin], asked[i - 1].objects[kPlugin]);
    EXPECT_EQ(asked[i].objects[kPlugin], asked[i % 2].objects[kPlugin]);
    EXPECT_EQ(asked[i].objects[0], asked[0].objects[0]);
  }
}

TEST_F(KnownStackTest, APlaceIsHeldByOneReader) {
  constexpr uintptr_t kEnd = 0x7f0000000000;
  {
    const KnownStacks first(kEnd, 1);
    ASSERT_NE(first.here(), nullptr);
    const KnownStacks second(kEnd, 1);  // a signal handler
    EXPECT_EQ(second.here(), nullptr);
    EXPECT_EQ(second.latest(), nullptr);
    KnownStacks::forget_all();  // fork's child, where the first is not there
    const KnownStacks third(kEnd, 1);
    EXPECT_NE(third.here(), nullptr);
  }
}

}  // namespace
}  // namespace oomguard::trace
