// The exception that nobody asked for: a real-time signal to the main thread, whose Python handler
// raises. Sent by the watchdog (growth by touching), or by the gate when it granted what its caller
// could not have been refused. Only once a handler is in place, and one at a time.
// Callable from a hook and from the raw thread: yes. Lock-free.
#pragma once

#include <atomic>
#include <cstdint>

namespace oomguard::budget {

class Alarm {
 public:
  // 0 takes the signal back.
  void set_signal(int signal_number) noexcept { signal_.store(signal_number); }
  int signal() const noexcept { return signal_.load(); }
  // The signal, which nobody sends from now on; set_signal gives it back.
  int32_t take_signal() noexcept { return signal_.exchange(0); }
  // A handler is in place and the last alarm was handled (or was sent long ago and lost).
  bool ready(int64_t now_ns) const noexcept;
  // Sends for refusal `number`; false where it was not ready.
  bool send(uint64_t number, int32_t growing_thread, int64_t now_ns) noexcept;
  void handled(int64_t now_ns) noexcept;
  // When the newest alarm whose handler has not ended was sent; 0: none.
  int64_t sent_ns() const noexcept { return sent_ns_.load(std::memory_order_acquire); }
  // When the newest handler ended; its exception is raised from then on.
  int64_t handled_ns() const noexcept { return handled_ns_.load(std::memory_order_relaxed); }
  uint64_t refusal(int32_t* growing_thread) const noexcept;
  void on_fork_child() noexcept { sent_ns_.store(0); }

 private:
  // After its handler ended the program gets this long to unwind before the next alarm.
  static constexpr int64_t kPauseNs = 100'000'000;
  // An alarm that was not handled for so long is lost: the program put a handler of its own there.
  // Long enough for one call into C that lets no Python handler run.
  static constexpr int64_t kLostNs = 30'000'000'000;

  std::atomic<int32_t> signal_{0};
  std::atomic<int64_t> sent_ns_{0};  // of the alarm whose handler has not ended, 0: none
  std::atomic<int64_t> handled_ns_{0};
  std::atomic<uint64_t> refusal_{0};
  std::atomic<int32_t> growing_thread_{0};
};

}  // namespace oomguard::budget
