// Call stacks while libraries come and go.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "shim/trace/native_stack.h"
#include "tests/shim/trace/shapes.h"
#include "tests/shim/trace/stacks.h"

namespace oomguard::trace {
namespace {

// What a library's constructor and destructor call.
thread_local std::function<void()>* t_on_load = nullptr;

class Plugin {
 public:
  explicit Plugin(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    EXPECT_NE(handle_, nullptr) << dlerror();
    call_ = reinterpret_cast<int (*)(Leaf, void*)>(dlsym(handle_, "plugin_call"));
  }
  ~Plugin() { dlclose(handle_); }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  int call(Leaf leaf, void* data) const { return call_(leaf, data); }
  uintptr_t start() const { return static_cast<const link_map*>(handle_)->l_addr; }

 private:
  void* handle_;
  int (*call_)(Leaf, void*);
};

}  // namespace
}  // namespace oomguard::trace

extern "C" [[gnu::visibility("default")]] void plugin_is_being_loaded() {
  if (oomguard::trace::t_on_load != nullptr) (*oomguard::trace::t_on_load)();
}

namespace oomguard::trace {
namespace {

using test::expect_as_others;
using test::look_at;
using test::Seen;

class NativeStackLoads : public testing::Test {
 protected:
  void SetUp() override { prepare_native_stacks(OwnFrames::kShow); }
};

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

// The number of what lies at the first address of the stack that is in this plugin; 0: none is.
uint32_t object_of(const Asked& asked, const Plugin& plugin) {
  constexpr uintptr_t kSize = 0x5000;
  for (size_t i = 0; i < asked.count; ++i) {
    if (asked.stack[i] - plugin.start() < kSize) return asked.objects[i];
  }
  return 0;
}

TEST_F(NativeStackLoads, TwinsAtTheSamePlaceAreToldApart) {
  uintptr_t first_start = 0;
  int at_same_place = 0;
  uint32_t of_plugin[2] = {};
  uint32_t of_program[2] = {};
  for (int i = 0; i < 20; ++i) {
    const Plugin plugin(i % 2 == 0 ? OOMGUARD_PLUGIN_A : OOMGUARD_PLUGIN_B);
    if (first_start == 0) first_start = plugin.start();
    if (plugin.start() == first_start) ++at_same_place;
    Seen seen;
    plugin.call(look_at, &seen);
    seen.libunwind.clear();  // its cache takes one twin for the other
    expect_as_others(seen, 5);
    Asked asked{};
    plugin.call(ask, &asked);
    ASSERT_GT(asked.count, 5u);
    of_plugin[i % 2] = object_of(asked, plugin);
    of_program[i % 2] = asked.objects[asked.count - 1];
  }
  EXPECT_NE(of_plugin[0], of_plugin[1]);
  EXPECT_NE(of_plugin[0], 0u);
  EXPECT_NE(of_plugin[1], 0u);
  EXPECT_EQ(of_program[0], of_program[1]);
  EXPECT_NE(of_program[0], 0u);
  // The loader gives freed places away again; were it not so, this test would say little.
  if (at_same_place < 20) GTEST_SKIP() << "the libraries lay at different places";
}

// The hazard that rules out whatever takes the dynamic linker's locks: a thread holds a lock (the
// interpreter's) and reads its stack, while a constructor inside another's dlopen waits for that
// lock.
TEST_F(NativeStackLoads, NoLockOfTheDynamicLinkerIsTaken) {
  std::mutex interpreter;
  std::atomic<bool> in_constructor{false};
  interpreter.lock();
  std::thread loading([&] {
    std::function<void()> wait = [&] {
      in_constructor.store(true);
      const std::lock_guard<std::mutex> wait_for_it(interpreter);
    };
    t_on_load = &wait;
    Plugin plugin(OOMGUARD_PLUGIN_A);
    t_on_load = nullptr;
  });
  while (!in_constructor.load()) std::this_thread::yield();
  uintptr_t stack[kMaxNativeFrames];
  const auto read = [](void* data) {
    return static_cast<int>(read_native_stack(static_cast<uintptr_t*>(data), kMaxNativeFrames));
  };
  EXPECT_GT(shape_busy_registers(read, stack), 5);
  EXPECT_GT(shape_function_object(read, stack), 5);
  interpreter.unlock();
  loading.join();
}

TEST_F(NativeStackLoads, ManyThreadsLoadAndUnloadAndRead) {
  constexpr int kLoads = 1500;
  std::atomic<int> loading{2};
  std::atomic<int> short_stacks{0};
  std::atomic<int> read{0};
  const auto load = [&](const char* path) {
    std::function<void()> look_around = [&] {
      uintptr_t stack[kMaxNativeFrames];
      const size_t count = read_native_stack(stack, kMaxNativeFrames);
      // This, the plugin, the dynamic linker, dlopen, the thread's beginning.
      if (count < 10) short_stacks.fetch_add(1);
      read.fetch_add(1);
    };
    t_on_load = &look_around;
    for (int i = 0; i < kLoads; ++i) const Plugin plugin(path);
    t_on_load = nullptr;
    loading.fetch_sub(1);
  };
  std::atomic<int> differences{0};
  const auto sample = [&] {
    uintptr_t first[kMaxNativeFrames];
    uintptr_t again[kMaxNativeFrames];
    const auto read_into = [](void* data) {
      return static_cast<int>(read_native_stack(static_cast<uintptr_t*>(data), kMaxNativeFrames));
    };
    const int count = shape_from_libc(read_into, first);
    while (loading.load() > 0) {
      if (shape_from_libc(read_into, again) != count) differences.fetch_add(1);
      read.fetch_add(1);
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back(load, OOMGUARD_PLUGIN_A);
  threads.emplace_back(load, OOMGUARD_PLUGIN_B);
  threads.emplace_back(sample);
  threads.emplace_back(sample);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(read.load(), 4 * kLoads);
  EXPECT_EQ(short_stacks.load(), 0);
  EXPECT_EQ(differences.load(), 0);
}

// libgcc unwinds at the same time, in the same threads.
TEST_F(NativeStackLoads, ExceptionsPassWhileStacksAreRead) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      uintptr_t stack[kMaxNativeFrames];
      const auto read = [](void* data) {
        return static_cast<int>(read_native_stack(static_cast<uintptr_t*>(data), kMaxNativeFrames));
      };
      const int while_unwinding = shape_while_unwinding(read, stack);
      const int in_handler = shape_in_handler(read, stack);
      if (while_unwinding < 5 || in_handler < 4) wrong.fetch_add(1);
      for (int k = 0; k < 300; ++k) {
        if (shape_while_unwinding(read, stack) != while_unwinding) wrong.fetch_add(1);
        if (shape_in_handler(read, stack) != in_handler) wrong.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace oomguard::trace
