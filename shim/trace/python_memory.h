// Reads the interpreter's memory in pieces, where a pointer may be wrong.
//
// Two ways. Guarded: every piece is copied by the kernel, which answers EFAULT where nothing is
// mapped. Direct: the memory itself, for what cannot go away while it is read; even so a page that
// was not met before is asked for first, so that a wrong pointer ends the reading and not the
// process. (A page that was met and has been unmapped since would fault: only a pointer that is
// wrong and leads there.)
// Thread-safety: an object belongs to one thread, the pages that were met are shared (relaxed: a
// page counts or not). Callable from a hook: yes; it lives on the stack, 0.5 KiB.
#pragma once

#include <string.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "collector/probe/readable.h"
#include "shim/trace/python_layout.h"

namespace oomguard::trace {

class PythonMemory {
 public:
  static constexpr size_t kMost = kMostRead;  // of one view

  explicit PythonMemory(bool guarded) noexcept : guarded_(guarded) {}
  PythonMemory(const PythonMemory&) = delete;
  PythonMemory& operator=(const PythonMemory&) = delete;

  // `size` bytes, at most kMost; null where they cannot be read. Valid until the next view.
  const unsigned char* view(uintptr_t address, size_t size) noexcept {
    if (address < kLowest || address > kHighest || size > kMost) return nullptr;
    if (guarded_) return copied(address, size);
    if (!is_known(address >> kPageBits)) return nullptr;
    const uintptr_t last = (address + size - 1) >> kPageBits;
    if (last != address >> kPageBits && !is_known(last)) return nullptr;
    return reinterpret_cast<const unsigned char*>(address);
  }

  // The same for one value.
  template <typename T>
  bool read(uintptr_t address, T* out) noexcept {
    const unsigned char* bytes = view(address, sizeof(T));
    if (bytes == nullptr) return false;
    memcpy(out, bytes, sizeof(T));
    return true;
  }

 private:
  static constexpr unsigned kPageBits = 12;
  static constexpr size_t kPages = 4096;  // that are remembered: 16 MiB of frames and code objects
  static constexpr size_t kWindow = 256;
  static constexpr uintptr_t kLowest = 0x10000;
  static constexpr uintptr_t kHighest = uintptr_t{1} << 56;

  static bool is_known(uintptr_t page) noexcept {
    std::atomic<uintptr_t>& met = pages_[(page ^ page >> 12) % kPages];
    if (met.load(std::memory_order_relaxed) == page) [[likely]] {
      return true;
    }
    return is_readable_now(page, &met);
  }

  [[gnu::cold, gnu::noinline]] static bool is_readable_now(uintptr_t page,
                                                           std::atomic<uintptr_t>* met) noexcept {
    if (!sys::is_readable(reinterpret_cast<const void*>(page << kPageBits), 8)) return false;
    met->store(page, std::memory_order_relaxed);
    return true;
  }

  // Most pieces lie beside the one before: an aligned window, which is on one page, is kept.
  [[gnu::noinline]] const unsigned char* copied(uintptr_t address, size_t size) noexcept {
    const uintptr_t start = address & ~(kWindow - 1);
    if (address + size > start + kWindow) {
      return sys::copy_bytes(reinterpret_cast<const void*>(address), piece_, size) ? piece_
                                                                                    : nullptr;
    }
    if (start != window_start_) {
      window_start_ = 0;
      if (!sys::copy_bytes(reinterpret_cast<const void*>(start), window_, kWindow)) return nullptr;
      window_start_ = start;
    }
    return window_ + (address - start);
  }

  static inline constinit std::atomic<uintptr_t> pages_[kPages] = {};

  const bool guarded_;
  uintptr_t window_start_ = 0;
  unsigned char window_[kWindow];
  unsigned char piece_[kMost];
};

// A value within what was viewed.
template <typename T>
T value_at(const unsigned char* bytes, size_t offset) noexcept {
  T value;
  memcpy(&value, bytes + offset, sizeof value);
  return value;
}

}  // namespace oomguard::trace
