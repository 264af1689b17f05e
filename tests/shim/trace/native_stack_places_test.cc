// Call stacks on other stacks than the main thread's.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "shim/trace/native_stack.h"
#include "tests/shim/trace/fenced.h"
#include "tests/shim/trace/shapes.h"
#include "tests/shim/trace/stacks.h"

namespace oomguard::trace {
namespace {

using test::expect_as_others;
using test::Fenced;
using test::look;
using test::look_at;
using test::Seen;

class NativeStackPlaces : public testing::Test {
 protected:
  void SetUp() override { prepare_native_stacks(OwnFrames::kShow); }
};

TEST_F(NativeStackPlaces, AThread) {
  Seen seen;
  std::thread([&] { shape_deep(look_at, &seen); }).join();
  expect_as_others(seen, 43);
}

// Just what the program needs: the rest of the stack is 16 KiB.
TEST_F(NativeStackPlaces, AThreadWithASmallStack) {
  struct Asked {
    uintptr_t stack[kMaxNativeFrames];
    size_t got;
  } asked{};
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN), 0);
  pthread_t thread;
  const auto run = [](void* data) -> void* {
    const auto read = [](void* of) {
      auto* to = static_cast<Asked*>(of);
      to->got = read_native_stack(to->stack, kMaxNativeFrames);
      return 1;
    };
    shape_deep(read, data);
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, &asked), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
  // read, 41 of descend, shape_deep, run, and what libc starts a thread with.
  EXPECT_GE(asked.got, 44u);
}

TEST_F(NativeStackPlaces, AThreadOnMemoryOfItsOwn) {
  Fenced memory(1024 * 1024);
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstack(&attributes, memory.start(), memory.size()), 0);
  pthread_t thread;
  const auto run = [](void* data) -> void* {
    shape_aligned(look_at, data);
    return nullptr;
  };
  Seen seen;
  ASSERT_EQ(pthread_create(&thread, &attributes, run, &seen), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
  expect_as_others(seen, 5);
}

// makecontext: what coroutines do. The stack changes in the same thread, back and forth.
class Coroutine {
 public:
  explicit Coroutine(size_t stack_size) : memory_(stack_size) {
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = memory_.start();
    inside_.uc_stack.ss_size = memory_.size();
    inside_.uc_link = &outside_;
    current = this;
    makecontext(&inside_, [] { current->run(); }, 0);
  }
  void enter() { swapcontext(&outside_, &inside_); }

  Seen seen;

 private:
  static inline Coroutine* current = nullptr;
  [[gnu::noinline]] void run() {
    shape_busy_registers(look_at, &seen);
    swapcontext(&inside_, &outside_);
    seen = Seen{};
    shape_variable_array(look_at, &seen);
  }
  Fenced memory_;
  ucontext_t inside_{};
  ucontext_t outside_{};
};

TEST_F(NativeStackPlaces, ACoroutine) {
  Coroutine coroutine(256 * 1024);
  coroutine.enter();
  expect_as_others(coroutine.seen, 4);
  Seen outside;
  look(&outside);
  expect_as_others(outside, 4);
  coroutine.enter();
  expect_as_others(coroutine.seen, 4);
}

TEST_F(NativeStackPlaces, ManyCoroutinesWhoseStacksComeAndGo) {
  for (int i = 0; i < 50; ++i) {
    const auto coroutine = std::make_unique<Coroutine>(size_t{64} * 1024 << i % 3);
    coroutine->enter();
    expect_as_others(coroutine->seen, 4);
  }
}

Seen g_in_handler;
void handle(int) { look(&g_in_handler); }

class Handler {
 public:
  Handler(int signal, void (*function)(int), int flags) : signal_(signal) {
    struct sigaction action {};
    action.sa_handler = function;
    action.sa_flags = flags;
    EXPECT_EQ(sigaction(signal, &action, &before_), 0);
  }
  ~Handler() { sigaction(signal_, &before_, nullptr); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  int signal_;
  struct sigaction before_ {};
};

int raise_it(void*) {
  raise(SIGUSR1);
  return 1;
}

TEST_F(NativeStackPlaces, ASignalHandler) {
  Handler handler(SIGUSR1, handle, 0);
  shape_aligned(raise_it, nullptr);
  expect_as_others(g_in_handler, 8);
}

TEST_F(NativeStackPlaces, ASignalHandlerOnItsOwnStack) {
  Fenced memory(64 * 1024);
  stack_t alternate{};
  alternate.ss_sp = memory.start();
  alternate.ss_size = memory.size();
  stack_t before{};
  ASSERT_EQ(sigaltstack(&alternate, &before), 0);
  Handler handler(SIGUSR1, handle, SA_ONSTACK);
  shape_deep(raise_it, nullptr);
  expect_as_others(g_in_handler, 48);
  sigaltstack(&before, nullptr);
}

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)  // which delays signals
// The processor's trap flag: a signal after each instruction, and a look at the stack in each. So
// all prologues, epilogues and jump tables of the dynamic linker are interrupted once.
std::atomic<int> g_instructions{0};
std::atomic<int> g_differences{0};
Seen g_different;  // the last one

void compare_at_instruction(int) {
  g_instructions.fetch_add(1, std::memory_order_relaxed);
  Seen seen;
  look(&seen);
  // From the handler's frame on; an interrupted function's address is one more.
  size_t at = 0;
  while (at < seen.libgcc.size() && seen.libgcc[at] != seen.ours[1]) ++at;
  bool same = seen.ours.size() - 1 == seen.libgcc.size() - at;
  for (size_t i = 1; same && i < seen.ours.size(); ++i) {
    const uintptr_t other = seen.libgcc[at + i - 1];
    same = seen.ours[i] == other || seen.ours[i] == other + 1;
  }
  if (same) return;
  g_differences.fetch_add(1, std::memory_order_relaxed);
  g_different = seen;
}

int do_little(void*) { return 1; }

[[gnu::noinline]] void step_through(int (*shape)(Leaf, void*)) {
  asm volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" : : : "memory", "cc");
  shape(do_little, nullptr);
  asm volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" : : : "memory", "cc");
}

TEST_F(NativeStackPlaces, AnInterruptionAtAnyInstruction) {
  Handler handler(SIGTRAP, compare_at_instruction, 0);
  using ShapeFunction = int (*)(Leaf, void*);
  constexpr ShapeFunction kShapes[] = {
      shape_plain,        shape_busy_registers,   shape_variable_array, shape_aligned,
      shape_large,        shape_aligned_variable, shape_many_arguments, shape_variadic,
      shape_tail_call,    shape_early_return,     shape_virtual,        shape_inlined,
      shape_function_object, shape_from_libc};
  for (const ShapeFunction shape : kShapes) {
    g_instructions = g_differences = 0;
    step_through(shape);
    EXPECT_GT(g_instructions.load(), 10);
    if (g_differences.load() == 0) continue;
    ADD_FAILURE() << g_differences.load() << " differences";
    expect_as_others(g_different, 4);
  }
}
#endif

}  // namespace
}  // namespace oomguard::trace
