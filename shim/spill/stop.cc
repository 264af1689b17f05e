#include "shim/spill/stop.h"

#include <linux/futex.h>
#include <signal.h>

#include <atomic>

#include "collector/probe/syscall.h"
#include "shim/budget/gate.h"
#include "shim/spill/kernel_action.h"
#include "shim/spill/threads.h"

namespace oomguard::spill {
namespace {

constexpr size_t kMaxThreads = 4096;
constexpr int64_t kBlockedWaitNs = 20'000'000;
constexpr int64_t kPauseNs = 300'000;

enum class State : uint32_t { kNew, kSignalled, kParked, kInKernel, kSleeper, kGone };

struct Thread {
  int32_t id;
  State state;
  std::atomic<uint32_t> parked;  // generation in which it entered the handler
  ThreadLook look;               // of kInKernel and kSleeper
};

constinit Thread g_threads[kMaxThreads] = {};
constinit size_t g_count = 0;
constinit size_t g_hint = 0;
constinit bool g_too_many = false;
constinit bool g_grew = false;
constinit int g_signal = 0;
// Odd while threads are stopped. The handler waits for as long as it is what it was sent with.
constinit std::atomic<uint32_t> g_generation{0};
constinit std::atomic<uint32_t> g_arrivals{0};

long futex(std::atomic<uint32_t>* word, int operation, uint32_t value, const timespec* timeout) {
  return sys::call(SYS_futex, sys::as_arg(word), operation | FUTEX_PRIVATE_FLAG, value,
                   sys::as_arg(timeout));
}

// Runs in any thread of the program, on any stack, with all signals blocked.
void park(int, siginfo_t* info, void*) noexcept {
  const uint64_t ticket = reinterpret_cast<uint64_t>(info->si_value.sival_ptr);
  const uint32_t generation = static_cast<uint32_t>(ticket >> 32);
  const uint32_t index = static_cast<uint32_t>(ticket);
  if (info->si_code != SI_QUEUE || generation % 2 == 0 || index >= kMaxThreads) return;
  if (g_generation.load(std::memory_order_acquire) != generation) return;
  g_threads[index].parked.store(generation, std::memory_order_release);
  g_arrivals.fetch_add(1, std::memory_order_acq_rel);
  futex(&g_arrivals, FUTEX_WAKE, 1, nullptr);
  while (g_generation.load(std::memory_order_acquire) == generation) {
    futex(&g_generation, FUTEX_WAIT, generation, nullptr);
  }
}

bool is_ours(int signal_number) noexcept {
  KernelAction action;
  return read_action(signal_number, &action) && action.handler == handler_address(park);
}

bool is_free(int signal_number) noexcept {
  KernelAction action;
  return signal_number != budget::gate.alarm.signal() && read_action(signal_number, &action) &&
         action.handler == 0;
}

// The program may have taken our signal for itself since the last time.
bool install() noexcept {
  if (g_signal != 0 && is_ours(g_signal)) return true;
  constexpr int kFirst = 36;  // libc's own are 32 and 33; programs count from 34 and from 64
  constexpr int kLast = 62;
  for (int candidate = kLast; candidate >= kFirst; --candidate) {
    if (!is_free(candidate)) continue;
    KernelAction action = make_action(handler_address(park), SA_SIGINFO | SA_RESTART | SA_ONSTACK);
    action.mask = ~uint64_t{0};
    if (!write_action(candidate, action)) continue;
    g_signal = candidate;
    return true;
  }
  return false;
}

bool send(const Thread& thread, size_t index) noexcept {
  siginfo_t info{};
  info.si_signo = g_signal;
  info.si_code = SI_QUEUE;
  const uint64_t ticket = uint64_t{g_generation.load(std::memory_order_relaxed)} << 32 | index;
  info.si_value.sival_ptr = reinterpret_cast<void*>(ticket);
  return sys::call(SYS_rt_tgsigqueueinfo, sys::call(SYS_getpid), thread.id, g_signal,
                   sys::as_arg(&info)) == 0;
}

void note_thread(void*, int32_t id) noexcept {
  for (size_t i = 0; i < g_count; ++i) {  // the kernel lists them in the same order each time
    const size_t at = (g_hint + i) % g_count;
    if (g_threads[at].id != id) continue;
    g_hint = at + 1;
    return;
  }
  if (g_count == kMaxThreads) {
    g_too_many = true;
    return;
  }
  Thread& thread = g_threads[g_count++];
  thread.id = id;
  thread.state = State::kNew;
  thread.parked.store(0, std::memory_order_relaxed);
  g_grew = true;
}

bool sleeps_uninterruptibly(char state) { return state == 'D' || state == 'T' || state == 't'; }

// A thread that stands in exec would take the pending signal into the new program, which it ends.
bool must_not_be_signalled(const ThreadLook& look) {
  return look.blocks(g_signal) || takes_signals(look) ||
         (look.call_known && (look.call == SYS_execve || look.call == SYS_execveat));
}

void settle(Thread* thread, size_t index) noexcept {
  if (thread->parked.load(std::memory_order_acquire) == g_generation.load()) {
    thread->state = State::kParked;
    return;
  }
  ThreadLook look;
  if (!look_at_thread(thread->id, &look) || look.is_gone()) {
    thread->state = State::kGone;
  } else if (thread->state == State::kNew && must_not_be_signalled(look)) {
    if (look.state != 'S' || !shows_its_memory(look)) return;
    thread->look = look;
    thread->state = State::kSleeper;
  } else if (thread->state == State::kNew) {
    if (send(*thread, index)) thread->state = State::kSignalled;
  } else if (sleeps_uninterruptibly(look.state) && look.call_known &&
             (look.call == -1 || shows_its_memory(look))) {
    thread->look = look;
    thread->state = State::kInKernel;
  }
}

bool is_settled(State state) { return state != State::kNew && state != State::kSignalled; }

// One pass; `blocked`: some thread runs with our signal blocked.
bool settle_all(bool* blocked) noexcept {
  *blocked = false;
  g_grew = false;
  g_hint = 0;
  if (!each_thread(note_thread, nullptr)) return false;
  bool all = !g_grew && !g_too_many;
  for (size_t i = 0; i < g_count; ++i) {
    Thread& thread = g_threads[i];
    if (is_settled(thread.state)) continue;
    settle(&thread, i);
    // Settled only now: it may have started another thread just before.
    all = false;
    if (thread.state == State::kNew) *blocked = true;
  }
  return all;
}

}  // namespace

bool stop_threads(int64_t wait_ns) noexcept {
  if (!install()) return false;
  g_count = 0;
  g_too_many = false;
  g_generation.store((g_generation.load() + 1) | 1);
  note_thread(nullptr, static_cast<int32_t>(sys::call(SYS_gettid)));
  g_threads[0].state = State::kGone;  // ourselves
  const int64_t start_ns = sys::monotonic_ns();
  for (;;) {
    const uint32_t heard = g_arrivals.load(std::memory_order_acquire);
    bool blocked;
    if (settle_all(&blocked)) return sleepers_unmoved();
    const int64_t waited_ns = sys::monotonic_ns() - start_ns;
    if (g_too_many || waited_ns > (blocked ? kBlockedWaitNs : wait_ns)) return false;
    const timespec pause{0, kPauseNs};
    futex(&g_arrivals, FUTEX_WAIT, heard, &pause);
  }
}

void resume_threads() noexcept {
  if (g_generation.load(std::memory_order_relaxed) % 2 == 0) return;
  g_generation.fetch_add(1, std::memory_order_acq_rel);
  futex(&g_generation, FUTEX_WAKE, INT32_MAX, nullptr);
}

uint32_t stopped_threads() noexcept {
  uint32_t count = 0;
  for (size_t i = 0; i < g_count; ++i) {
    if (is_settled(g_threads[i].state) && g_threads[i].state != State::kGone) ++count;
  }
  return count;
}

bool has_sleepers() noexcept {
  for (size_t i = 0; i < g_count; ++i) {
    if (g_threads[i].state == State::kSleeper) return true;
  }
  return false;
}

bool sleepers_unmoved() noexcept {
  for (size_t i = 0; i < g_count; ++i) {
    const Thread& thread = g_threads[i];
    if (thread.state != State::kSleeper) continue;
    ThreadLook now;
    if (!look_at_thread(thread.id, &now)) return false;
    if (now.state != 'S' || now.switches != thread.look.switches) return false;
  }
  return true;
}

bool is_sleeper(int32_t thread_id) noexcept {
  for (size_t i = 0; i < g_count; ++i) {
    if (g_threads[i].id == thread_id) return g_threads[i].state == State::kSleeper;
  }
  return false;
}

bool call_points_into(uintptr_t start, uintptr_t end) noexcept {
  for (size_t i = 0; i < g_count; ++i) {
    const Thread& thread = g_threads[i];
    const bool in_kernel = thread.state == State::kInKernel || thread.state == State::kSleeper;
    if (in_kernel && points_into(thread.look, start, end)) return true;
  }
  return false;
}

}  // namespace oomguard::spill
