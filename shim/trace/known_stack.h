// Native stacks as they were when they were read, so that what is still there of one need not be
// walked again: mostly all of it, or all but the innermost frames.
//
// Where a walk comes to a frame with the stack pointer and the return address of a known one, what
// the unwind tables said of the frames above holds if what it was taken from is what it was: the
// words of the stack that gave each return address, frame register and stack pointer, and what is
// loaded at each address. All of that is looked at each time, so the answer is that of a walk. A
// walk whose steps cannot be repeated with so little (signal frames, other stacks than the one that
// the thread began with) is not kept.
//
// A fixed number of places, each held by one reader at a time: who finds one held goes without.
// Threads that share a place only push each other's stacks out. Thread-safety: all of KnownStacks;
// a KnownStack is of who holds it. Callable from a hook and from a signal handler: yes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "shim/trace/loaded_object.h"
#include "shim/trace/registers.h"
#include "shim/trace/thread_stack.h"

namespace oomguard::trace {

// What a step to the caller's frame was taken from. Addresses of words on the stack; 0: none.
struct Step {
  uintptr_t return_address_at;
  uintptr_t frame_register_at;
  uintptr_t stack_pointer_at;
  bool uses_frame_register;
  bool loses_frame_register;
};

class KnownStack {
 public:
  static constexpr size_t kMost = 160;

  struct Frame {
    uintptr_t pc;
    uintptr_t frame_register;
    uint32_t stack;   // the stack pointer: words below the stack's end
    uint32_t object;  // stamp of what is loaded there; 0: nothing is
    // From the stack pointer upward to what the step to the caller reads, in words; kNone: nothing.
    uint16_t return_address_at;
    uint16_t frame_register_at;
    uint16_t stack_pointer_at;
    bool needs_frame_register : 1;  // the step to the caller, or one farther out, uses it
    bool loses_frame_register : 1;
    bool lasts : 1;  // its object is there until the process ends
  };
  static_assert(sizeof(Frame) == 32);

  // How many frames, from the one that `here` is at outward, are as they were; 0: none. `wanted`:
  // so many there have to be where the known stack does not go to its end. Asked frame by frame on
  // the way outward, before `add`.
  size_t same_from(const Registers& here, size_t wanted, ThreadStack* stack,
                   RecentObjects* objects) noexcept;
  // The n-th frame from the outermost one.
  const Frame& frame(size_t n) const noexcept { return frames_[n]; }

  // The next frame of the new stack, outward.
  void add(const Registers& here, const LoadedObject* object, const Step& step) noexcept;
  // The frames that were added, and farther out the outermost `above` of `from` (which may be this
  // one), are now the known stack. `is_cut`: it goes on.
  void keep(const KnownStack& from, size_t above, bool is_cut) noexcept;

 private:
  friend class KnownStacks;
  static constexpr uint16_t kNone = UINT16_MAX;
  static constexpr size_t kTooMany = kMost + 1;

  bool hold(uintptr_t stack_end) noexcept;
  uintptr_t stack_pointer(const Frame& frame) const noexcept {
    return end_ - uintptr_t{frame.stack} * sizeof(uintptr_t);
  }
  bool follows(const Frame& frame, const Frame& caller, ThreadStack* stack) const noexcept;
  bool holds_from(size_t n, ThreadStack* stack, RecentObjects* objects) noexcept;

  std::atomic<bool> is_held_{false};
  bool is_cut_ = false;
  uint32_t count_ = 0;   // known, outermost first
  uint32_t unseen_ = 0;  // of them, so many may still be met on this way outward
  uint32_t added_ = 0;   // at the end of the array, downward: the outermost is the lowest
  uintptr_t end_ = 0;    // of the thread's stack
  Frame frames_[kMost] = {};
};

class KnownStacks {
 public:
  // Of the stack that ends here; 0: of none. `hint`: what tells one place in the program from
  // another.
  KnownStacks(uintptr_t stack_end, uint64_t hint) noexcept;
  ~KnownStacks();
  KnownStacks(const KnownStacks&) = delete;
  KnownStacks& operator=(const KnownStacks&) = delete;

  // Where what is read now is to be kept; what this thread kept last; null: held by others.
  KnownStack* here() const noexcept { return here_; }
  KnownStack* latest() const noexcept { return latest_; }

  // In fork's child, whose parent's other threads may have held some.
  static void forget_all() noexcept;

 private:
  KnownStack* here_ = nullptr;
  KnownStack* latest_ = nullptr;
};

}  // namespace oomguard::trace
