// What one thread of the program carries for the hooks: its credit and a re-entry mark.
//
// Initial-exec and constant-initialised, so that a hook reads it in one instruction, before main,
// in TLS destructors and after exit began. The watchdog's raw thread must never touch it.
#pragma once

#include <sys/syscall.h>

#include <cstdint>

#include "collector/probe/syscall.h"
#include "shim/budget/dip.h"
#include "shim/trace/countdown.h"

namespace oomguard {

struct ThreadState {
  // Bytes that may be granted without asking anybody. Starts at 0: the first request of a thread
  // takes the slow path. In a process without a gate it is set to the largest value instead.
  // Ends earlier where a sample comes first: the rest stands in `countdown`.
  uint64_t credit;
  // Bytes that may be written to files without asking what they are. Signed: a signal handler may
  // write in the middle of a write, and then some of it goes uncounted.
  int64_t write_credit;
  int64_t write_slice;  // what the credit was when a file was looked at last
  uint32_t write_dice;  // how far it is to the next look
  int32_t thread_id;    // 0 until the slow path asked
  uint32_t in_slow_path;  // > 0: a hook of ours is at work below; calls pass through
  uint32_t unwatched_forks;  // under way here, for which the watchdog was stopped
  uint32_t in_driver;        // > 0: a GPU hook of ours is at work below
  uint32_t sees_host;        // > 0: asked for the host's memory (oomguard.host())
  int64_t pass_over_ns;   // when blocks that it has not begun to fill may count as left alone; 0:
                          // has none
  budget::Dip dip;        // what it may still take below the small line
  trace::Countdown countdown;
};

[[gnu::tls_model("initial-exec")]] extern thread_local constinit ThreadState thread_state;

// The next request asks the gate. How far it is to the next sample stays as it was.
inline void drop_credit() noexcept {
  thread_state.countdown.sample_beyond += thread_state.credit;
  thread_state.countdown.granted_beyond = 0;
  thread_state.credit = 0;
}

inline int32_t current_thread_id() noexcept {
  if (thread_state.thread_id == 0) {
    thread_state.thread_id = static_cast<int32_t>(sys::call(SYS_gettid));
  }
  return thread_state.thread_id;
}

// Marks a slow path; calls made inside pass straight through.
class SlowPathScope {
 public:
  SlowPathScope() noexcept { ++thread_state.in_slow_path; }
  ~SlowPathScope() { --thread_state.in_slow_path; }
  SlowPathScope(const SlowPathScope&) = delete;
  SlowPathScope& operator=(const SlowPathScope&) = delete;
};

}  // namespace oomguard
