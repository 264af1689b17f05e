// What of this process's address space is really there: /proc/self/pagemap.
//
// Used to tell a skeleton that nobody touches from a block that is being filled, and to keep the
// resident text of programs and libraries out of "reclaimable".
// Thread-safety: any number of callers. Callable from a hook and from the raw thread: yes.
// Errors: -1 where the kernel does not tell (the caller then counts in full).
#pragma once

#include <cstddef>
#include <cstdint>

#include "collector/probe/kernel_file.h"

namespace oomguard::probe {

enum class Backing : uint8_t {
  kUnknown,       // nothing there, or it cannot be read
  kPrivate,       // anonymous memory of this process
  kSharedMemory,  // shared anonymous memory, memfd, /dev/shm: others may have filled it
  kFile,
};

class Residency {
 public:
  constexpr Residency() = default;

  // Opens /proc/self/pagemap and checks on pages of its own (written, read, neither) that the
  // kernel answers sensibly. Call again in fork's child. False: touched_bytes answers -1 for ever.
  [[nodiscard]] bool open();

  // Estimate of how many bytes of [address, address + size), a range of anonymous or shared memory,
  // are there already: pages with content of their own, in memory or swapped, among them those that
  // a fork left shared with a relative. Never touched pages and the shared zero page are not. Where
  // the kernel cannot tell the zero page from a page shared by fork (before Linux 6.7), both are
  // not. Looks at `samples` pages spread evenly (first and last included), at all of them when the
  // range is small. -1: unknown.
  int64_t touched_bytes(uintptr_t address, size_t size, uint32_t samples = 32) const;

  // What the mapping at `address` is made of. Reads /proc/self/maps up to there.
  Backing backing(uintptr_t address) const;
  // The same as a question: a file that is on a disk (or on another tmpfs than /dev/shm).
  bool in_file(uintptr_t address) const { return backing(address) == Backing::kFile; }

  // Bytes of all mappings that can be accessed: what mlockall would fill. -1: unknown.
  int64_t accessible_bytes() const;

  // Which of 64 pages spread evenly over a mapping of a file (first and last included) are present
  // in this process's page tables as the file's, one bit each. False: unknown.
  bool file_pages_present(uintptr_t address, size_t size, uint64_t* present) const;

  // Bytes of file-backed executable mappings present in this process's page tables. Reads
  // /proc/self/maps; takes 1-10 ms in a torch process, so ask rarely. -1: unknown.
  int64_t resident_text() const;

 private:
  bool check_kernel();

  mutable KernelFile file_;
  bool usable_ = false;
  bool knows_zero_page_ = false;
  uint32_t page_size_ = 0;
};

}  // namespace oomguard::probe
