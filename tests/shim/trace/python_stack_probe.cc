// What the Python programs of this folder ask: a library that is loaded with ctypes, or preloaded
// so that its malloc looks at the stack of each allocation.
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <string.h>

#include <cstddef>
#include <cstdint>

#include "collector/probe/syscall.h"
#include "shim/trace/python_stack.h"

#define EXPORT extern "C" [[gnu::visibility("default")]]

extern "C" void* __libc_malloc(size_t size);
extern "C" void* __libc_calloc(size_t count, size_t size);
extern "C" void* __libc_realloc(void* block, size_t size);

namespace {

namespace trace = oomguard::trace;

constexpr size_t kMostFrames = 512;
constexpr int kRounds = 21;

struct Watch {
  bool on;
  bool inside;
  uint64_t looks;
  uint64_t odd;
  uint64_t deepest;
};
[[gnu::tls_model("initial-exec")]] constinit thread_local Watch t_watch{};

bool g_found = false;

[[gnu::constructor]] void start() { g_found = trace::find_python(); }

void look() {
  Watch& watch = t_watch;
  if (!watch.on || watch.inside) return;
  watch.inside = true;
  trace::RawFrame frames[kMostFrames];
  const size_t count = trace::read_python_stack(frames, kMostFrames);
  ++watch.looks;
  if (count > watch.deepest) watch.deepest = count;
  bool sound = count > 0 && count < kMostFrames;
  uint64_t identities[kMostFrames];
  trace::code_identities(frames, count, identities);
  for (size_t i = 0; sound && i < count; ++i) sound = identities[i] != 0;
  if (sound) {
    trace::CodeText innermost;
    trace::CodeText outermost;
    sound = trace::describe(frames[0], &innermost) && innermost.file[0] != '\0' &&
            trace::describe(frames[count - 1], &outermost) &&
            strcmp(outermost.function, "<module>") == 0;
  }
  if (!sound) ++watch.odd;
  watch.inside = false;
}

void* counframes(void* out) {
  trace::RawFrame frames[8];
  *static_cast<size_t*>(out) = trace::read_python_stack(frames, 8);
  return nullptr;
}

}  // namespace

EXPORT void* malloc(size_t size) {
  look();
  return __libc_malloc(size);
}
EXPORT void* calloc(size_t count, size_t size) {
  look();
  return __libc_calloc(count, size);
}
EXPORT void* realloc(void* block, size_t size) {
  look();
  return __libc_realloc(block, size);
}

// Whether find_python found an interpreter that can be read.
EXPORT int probe_found() { return g_found ? 1 : 0; }

EXPORT size_t probe_read(trace::RawFrame* out, size_t capacity) {
  return trace::read_python_stack(out, capacity);
}

EXPORT int probe_describe(const trace::RawFrame* frame, trace::CodeText* out) {
  return trace::describe(*frame, out) ? 1 : 0;
}

EXPORT uint64_t probe_identity(uintptr_t code) {
  const trace::RawFrame frame{code, 0, false};
  uint64_t identity;
  trace::code_identities(&frame, 1, &identity);
  return identity;
}

EXPORT void probe_ending() { trace::python_is_ending(); }
EXPORT void probe_forget() { trace::forget_python_readers(); }

// Calls a callback: a C frame between Python frames.
EXPORT void probe_call(void (*callback)()) { callback(); }

// How many C frames of this thread are the evaluation loop's; -1: unknown, also where a compiler put
// most of the loop away from its symbol (Debian's 3.14).
EXPORT int probe_loops() {
  void* loop = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
  Dl_info info;
  ElfW(Sym)* symbol = nullptr;
  if (loop == nullptr ||
      dladdr1(loop, &info, reinterpret_cast<void**>(&symbol), RTLD_DL_SYMENT) == 0 ||
      symbol == nullptr) {
    return -1;
  }
  void* frames[kMostFrames];
  const int count = backtrace(frames, kMostFrames);
  if (count == static_cast<int>(kMostFrames)) return -1;
  const auto start = reinterpret_cast<uintptr_t>(loop);
  int loops = 0;
  for (int i = 0; i < count; ++i) {
    const auto at = reinterpret_cast<uintptr_t>(frames[i]);
    if (at >= start && at < start + symbol->st_size) ++loops;
  }
  return loops > 0 ? loops : -1;
}

// The number of frames in a thread that Python does not know.
EXPORT size_t probe_thread() {
  size_t count = SIZE_MAX;
  pthread_t thread;
  if (pthread_create(&thread, nullptr, counframes, &count) == 0) pthread_join(thread, nullptr);
  return count;
}

// Nanoseconds for one capture, the least of some rounds. `identities`: with that of each
// frame's code object, as a sampler asks.
EXPORT double probe_cost(size_t capacity, int captures, int identities) {
  trace::RawFrame frames[kMostFrames];
  uint64_t of_frames[kMostFrames];
  double least = 1e18;
  uint64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t start = oomguard::sys::monotonic_ns();
    for (int i = 0; i < captures; ++i) {
      const size_t count =
          trace::read_python_stack(frames, capacity < kMostFrames ? capacity : kMostFrames);
      if (identities == 0) continue;
      trace::code_identities(frames, count, of_frames);
      for (size_t k = 0; k < count; ++k) sum += of_frames[k];
    }
    const auto took = static_cast<double>(oomguard::sys::monotonic_ns() - start) / captures;
    if (took < least) least = took;
  }
  return sum == 1 ? 0 : least;
}

// The same for one description of each frame of the stack, for a frame.
EXPORT double probe_describe_cost() {
  trace::RawFrame frames[64];
  trace::CodeText text;
  const size_t count = trace::read_python_stack(frames, 64);
  double least = 1e18;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t start = oomguard::sys::monotonic_ns();
    for (size_t i = 0; i < count; ++i) (void)trace::describe(frames[i], &text);
    const auto took = static_cast<double>(oomguard::sys::monotonic_ns() - start);
    if (took / static_cast<double>(count) < least) least = took / static_cast<double>(count);
  }
  return least;
}

// Reads until the process ends; for a daemon thread. *reads counts.
EXPORT void probe_read_on(volatile uint64_t* reads) {
  trace::RawFrame frames[64];
  uint64_t identities[64];
  trace::CodeText text;
  for (;;) {
    const size_t count = trace::read_python_stack(frames, 64);
    trace::code_identities(frames, count, identities);
    for (size_t i = 0; i < count; ++i) {
      if (*reads % 64 == 0) (void)trace::describe(frames[i], &text);
    }
    *reads = *reads + 1;
  }
}

// From now on each allocation of this thread reads the stack, or does not.
EXPORT void probe_watch(int on) { t_watch.on = on != 0; }

// How many did; `odd` ones had a frame that is none, or another outermost one than the module.
EXPORT uint64_t probe_watched(uint64_t* odd, uint64_t* deepest) {
  *odd = t_watch.odd;
  *deepest = t_watch.deepest;
  return t_watch.looks;
}
