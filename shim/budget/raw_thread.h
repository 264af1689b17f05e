// A thread that libc does not know: made by clone(2), with its own stack and a dummy thread control
// block, all signals blocked. `__libc_single_threaded` stays true, CPython's fork warning stays
// silent (the thread is stopped around fork), and no pthread function may be called in it. It has a
// descriptor table of its own, empty at first: a file that it opens never takes a number of the
// program's, and none of the program's files is kept open by it.
//
// The body may use oomguard::sys and static memory only. Thread-safety: start/stop from one thread
// at a time (the watchdog's own state machine sees to it). Callable from a hook: yes.
#pragma once

#include <atomic>
#include <cstdint>

namespace oomguard::budget {

class RawThread {
 public:
  using Body = void (*)();
  // False where signals could not be blocked or clone failed.
  bool start(Body body) noexcept;
  // Asks `stop_word` readers to end (set to 1, woken) and waits until the kernel says the thread is
  // gone. A few microseconds.
  void stop() noexcept;
  bool running() const noexcept { return thread_id_.load(std::memory_order_acquire) != 0; }
  bool stopping() const noexcept { return stop_.load() != 0; }
  // Sleeps in the raw thread until `ns` have passed, stop() was called, or wake() was called.
  void sleep(int64_t ns) noexcept;
  void wake() noexcept;
  // Sleeps on `word` instead of an own one, so that other processes can wake it (shared futex);
  // nullptr: back to the own one. In the thread itself, or while it does not run.
  void sleep_on(std::atomic<uint32_t>* word) noexcept { word_.store(word); }
  // In fork's child the thread does not exist.
  void forget() noexcept;

 private:
  static void run() noexcept;
  std::atomic<uint32_t>* bell() noexcept {
    std::atomic<uint32_t>* word = word_.load();
    return word != nullptr ? word : &bell_;
  }
  static Body body_;

  std::atomic<int32_t> thread_id_{0};  // cleared and woken by the kernel (CLONE_CHILD_CLEARTID)
  std::atomic<int32_t> started_id_{0};  // the same, kept until the kernel knows no such thread
  std::atomic<uint32_t> stop_{0};
  std::atomic<uint32_t> bell_{0};
  // Stored before `stop_` is looked at, and read after it was set: sequentially consistent.
  std::atomic<std::atomic<uint32_t>*> word_{nullptr};
};

}  // namespace oomguard::budget
